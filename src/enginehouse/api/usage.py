"""What was used and what it cost: JSON as M1 has it, and CSV for spreadsheets."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from enginehouse.api.openapi import Responses
from enginehouse.core.identity.principals import may_use
from enginehouse.core.ledger.savings import Savings
from enginehouse.core.ledger.sheets import as_csv
from enginehouse.core.ledger.usage import Question, UsageReports, bounds, encode
from enginehouse.errors import PermissionDenied
from enginehouse.types import Operation, Principal

__all__ = ["savings_router", "usage_router"]

Group = Literal["user", "model", "key", "tenant", "tag", "day", "hour"]
Start = Annotated[str | None, Query(description="First day (UTC), or full hour; 30 days before the end.")]
End = Annotated[str | None, Query(description="Last day (UTC), or the full hour at which it ends; today.")]
User = Annotated[
    str | None, Query(description="Whose usage. Other users' wants role admin, and so does everybody's.")
]
Discount = Annotated[
    Decimal | None,
    Query(ge=0, le=1, description="Assumed discount in batches, such as 0.5, where no batch price is known."),
]
By = Annotated[Group | None, Query(description="Adds `groups` to the answer.")]

_SHEET: Responses = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def usage_router(reports: UsageReports) -> APIRouter:
    """`GET /v1/llm/usage` and `GET /v1/llm/embedding-usage`."""
    router = APIRouter(tags=["usage"])

    @router.get("/v1/llm/usage", responses=_SHEET)
    async def llm_usage(
        request: Request, start_date: Start = None, end_date: End = None, user_id: User = None, group_by: By = None
    ) -> Response:
        """All usage: requests, tokens and cost in total, by model and by day. CSV with `Accept: text/csv`."""
        return await _answer(reports, request, _question(request, start_date, end_date, user_id, group_by))

    @router.get("/v1/llm/embedding-usage", responses=_SHEET)
    async def embedding_usage(
        request: Request, start_date: Start = None, end_date: End = None, user_id: User = None, group_by: By = None
    ) -> Response:
        """The part of it that embeddings are."""
        embedding = Operation.EMBEDDING.value
        question = _question(request, start_date, end_date, user_id, group_by, operation=embedding)
        return await _answer(reports, request, question)

    return router


def savings_router(savings: Savings) -> APIRouter:
    """`GET /v1/llm/savings`."""
    router = APIRouter(tags=["usage"])

    @router.get("/v1/llm/savings")
    async def llm_savings(
        request: Request,
        start_date: Start = None,
        end_date: End = None,
        user_id: User = None,
        batch_discount: Discount = None,
    ) -> Response:
        """What caching, cheaper models of equal capabilities, or batches would have saved, with the arithmetic."""
        principal = request.state.principal
        report = await savings.report(
            _question(request, start_date, end_date, user_id, None),
            datetime.now(UTC),
            batch_discount=batch_discount,
            may_use=lambda model: may_use(principal, model),
        )
        return Response(encode(report), media_type="application/json")

    return router


def _question(
    request: Request,
    start_date: str | None,
    end_date: str | None,
    user_id: str | None,
    group_by: str | None,
    operation: str | None = None,
) -> Question:
    start, end = bounds(start_date, end_date, datetime.now(UTC))
    user = _whose(request.state.principal, user_id)
    return Question(start=start, end=end, user=user, operation=operation, group_by=group_by)


def _whose(principal: Principal, user_id: str | None) -> str | None:
    """An admin may ask about anybody and everybody, anyone else about themselves."""
    if principal.role == "admin":
        return user_id or None
    if user_id not in (None, "", principal.user):
        raise PermissionDenied("The usage of other users wants the role 'admin'.", param="user_id")
    return principal.user


async def _answer(reports: UsageReports, request: Request, question: Question) -> Response:
    if "text/csv" in request.headers.get("accept", ""):
        text = as_csv(await reports.groups(question))
        return Response(
            text, media_type="text/csv", headers={"Content-Disposition": "attachment; filename=usage.csv"}
        )
    return Response(encode(await reports.summary(question)), media_type="application/json")
