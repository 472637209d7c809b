"""Every error is a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from ga.errors import InputError, LedgerError
from ga.ledger.decoding import undecodable
from ga.redaction import redact
from ga.service.database_watch import ERRORS
from ga.service.models import Problem

MEDIA_TYPE: Final = "application/problem+json"
_SHOWN: Final = 5
"""Maximum number of listed errors of a request."""


_RENAMED: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Reason phrases that changed with RFC 9110 and Python 3.13, so that answers are the same on every
Python.
"""


class ProblemError(Exception):
    """An error that is answered with ``status`` and ``detail``."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def _name(status: int) -> str:
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A response with a problem document."""
    found = Problem(type="about:blank", title=_name(status), status=status, detail=detail)
    return JSONResponse(found.model_dump(), status, headers, media_type=MEDIA_TYPE)


def database_away() -> ProblemError:
    """The answer to a request that needs the database."""
    detail = (
        "the database is unreachable or busy; whether the request took effect is not known: repeat"
        " it, a submission with the same Idempotency-Key"
    )
    return ProblemError(503, detail, {"Retry-After": "1"})


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _name(status), "content": content} for status in statuses}


def register(app: FastAPI, suspect: Callable[[], None]) -> None:
    """Make ``app`` answer every error with a problem document.

    Args:
        suspect: called after each error of the database.
    """

    @app.exception_handler(ProblemError)
    async def _ours(_request: Request, error: ProblemError) -> JSONResponse:
        return problem(error.status, error.detail, error.headers)

    @app.exception_handler(InputError)
    async def _input(_request: Request, error: InputError) -> JSONResponse:
        return problem(422, redact(" ".join(str(error).split())))

    @app.exception_handler(LedgerError)
    async def _damaged(_request: Request, error: LedgerError) -> JSONResponse:
        return problem(500, redact(" ".join(str(error).split())))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = error.errors()
        # The input is not repeated: it may be long, or a misplaced secret.
        shown = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in faults[:_SHOWN]
        ]
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        return problem(422, "; ".join(shown + more))

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        headers = None if error.headers is None else dict(error.headers)
        return problem(error.status_code, str(error.detail), headers)

    async def _database(_request: Request, error: Exception) -> JSONResponse:
        damaged = undecodable(error) if isinstance(error, DBAPIError) else None
        if damaged is not None:
            return problem(500, str(damaged))
        suspect()
        away = database_away()
        return problem(away.status, away.detail, away.headers)

    for error in ERRORS:
        app.add_exception_handler(error, _database)
