//! Answers that are not a success: what is wrong, and whose it is to mend.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rollway_core::view::ErrorBody;

use crate::engine::Refusal;
use crate::failure::{Failure, FailureKind};

/// What a handler answers when it cannot do what was asked.
pub(super) struct Refused(pub Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(Refusal::Failure(failure))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self.0 {
            Refusal::Problems(problems) => {
                let status = match problems.first() {
                    Some(problem) if matches!(problem.path.as_str(), "service" | "source") => {
                        StatusCode::NOT_FOUND
                    }
                    _ => StatusCode::UNPROCESSABLE_ENTITY,
                };
                (status, Json(ErrorBody { problems, ..ErrorBody::default() })).into_response()
            }
            Refusal::Failure(failure) => {
                let status = match failure.kind {
                    FailureKind::NotDone | FailureKind::Unknown => StatusCode::SERVICE_UNAVAILABLE,
                    FailureKind::Stale => StatusCode::CONFLICT,
                    FailureKind::Missing => StatusCode::NOT_FOUND,
                    FailureKind::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
                };
                let failure = Some(failure.chain());
                (status, Json(ErrorBody { failure, ..ErrorBody::default() })).into_response()
            }
        }
    }
}
