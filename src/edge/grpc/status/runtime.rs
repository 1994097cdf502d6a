//! Refusals of the runtime and of the guard before it.

use tonic::{Code, Status};

use super::Told;
use crate::edge::grpc::guard::GuardError;
use crate::runtime::operator::OperatorError;

impl From<&GuardError> for Status {
    fn from(error: &GuardError) -> Self {
        match error {
            GuardError::Unauthenticated => Told::new(Code::Unauthenticated, error, []).status(),
            GuardError::Forbidden { method, caller } => {
                let facts = [("method", method.clone()), ("caller", (*caller).to_owned())];
                Told::new(Code::PermissionDenied, error, facts).status()
            }
            GuardError::Refused(refused) => refused.into(),
        }
    }
}

impl From<&OperatorError> for Status {
    fn from(error: &OperatorError) -> Self {
        match error {
            OperatorError::Refused(refused) => refused.into(),
            OperatorError::Denied(denial) => denial.into(),
            OperatorError::UnknownRole { role, .. } => {
                Told::new(Code::InvalidArgument, error, [("role", role.to_string())])
                    .bad_field("role", error)
                    .status()
            }
            OperatorError::BadWindow { budget, .. } => {
                Told::new(Code::InvalidArgument, error, [("budget", budget.to_string())])
                    .bad_field("document", error)
                    .status()
            }
        }
    }
}
