//! The table of status codes, and that a client reads back what a service said.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::domain::id::AgentId;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::agent::Scope;
use crate::domain::ledger::budget::{AccountKey, BudgetCheck};
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;
use crate::edge::grpc::limits::{OFFER_LEN_MAX, OFFER_TEXT_MAX};
use crate::edge::grpc::x402::tests::{offer, settlement};

/// What a client has after the status went over the wire.
fn sent(status: &Status) -> Status {
    let headers = status.clone().into_http::<()>().into_parts().0.headers;
    Status::from_header_map(&headers).unwrap()
}

#[test]
fn a_client_reads_back_what_a_service_said() {
    let cases = [
        (ServiceError::PaymentRequired(Box::new(offer(600))), Code::ResourceExhausted),
        (ServiceError::PaymentRequired(Box::new(offer(OFFER_TEXT_MAX))), Code::ResourceExhausted),
        (ServiceError::PaymentRequired(Box::new(offer(OFFER_LEN_MAX))), Code::ResourceExhausted),
        (
            ServiceError::SettlementFailed {
                offer: Box::new(offer(600)),
                response: Box::new(settlement(false)),
            },
            Code::ResourceExhausted,
        ),
        (
            ServiceError::Malformed { field: "order.model".into(), problem: "no such".into() },
            Code::InvalidArgument,
        ),
        (ServiceError::Bound, Code::AlreadyExists),
        (ServiceError::RateLimited { retry_after_ms: 1500 }, Code::ResourceExhausted),
        (ServiceError::Unavailable("gas is out".into()), Code::Unavailable),
        (
            ServiceError::Engine(EngineError::BadRequest {
                capability: "embed".into(),
                problem: "no texts".into(),
            }),
            Code::InvalidArgument,
        ),
        (
            ServiceError::Engine(EngineError::BodyAboveOrder { counted: 9, covered: 8 }),
            Code::InvalidArgument,
        ),
        (ServiceError::Engine(EngineError::AnswerAboveOrder { covered: 8 }), Code::InvalidArgument),
        (
            ServiceError::Engine(EngineError::InputAboveOrder { counted: 9, covered: 8 }),
            Code::InvalidArgument,
        ),
        (ServiceError::Engine(EngineError::Failed("broke".into())), Code::Unavailable),
        (ServiceError::Engine(EngineError::Busy { running: 4 }), Code::ResourceExhausted),
        (ServiceError::Due, Code::DeadlineExceeded),
        (ServiceError::Unknown("no word".into()), Code::DeadlineExceeded),
    ];
    for (error, code) in cases {
        let status = sent(&Status::from(&error));
        assert_eq!(status.code(), code, "{error}");
        for payment in [Sent::NoPayment, Sent::Payment] {
            assert_eq!(read_service_error(&status, payment), error);
        }
    }
}

#[test]
fn a_directory_client_reads_back_what_the_directory_said() {
    let until = Timestamp::from_nanos(1_700_000_000_000_000_001);
    let cases = [
        (
            DirectoryError::Refused { provider: "p".into(), problem: "unsigned".into() },
            Code::InvalidArgument,
        ),
        (DirectoryError::NameTaken { provider: "p".into(), until }, Code::AlreadyExists),
        (DirectoryError::Full { bound: 10 }, Code::ResourceExhausted),
        (DirectoryError::CursorTooOld, Code::FailedPrecondition),
        (DirectoryError::TooSlow { bound: 10 }, Code::ResourceExhausted),
        (DirectoryError::TooManyWatchers { bound: 10 }, Code::ResourceExhausted),
        (DirectoryError::Unavailable("resting".into()), Code::Unavailable),
    ];
    for (error, code) in cases {
        let status = sent(&Status::from(&error));
        assert_eq!(status.code(), code, "{error}");
        assert_eq!(read_directory_error(&status), error);
    }
}

#[test]
fn an_offer_is_the_only_exhaustion_that_is_a_price() {
    let price = Status::from(&ServiceError::PaymentRequired(Box::new(offer(600))));
    let info = price.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("PAYMENT_REQUIRED", "x402.org"));
    assert!(price.get_details_retry_info().is_none());

    // A limiter on the way may copy our message; its own ErrorInfo says what it is.
    let limiter = Status::with_error_details(
        Code::ResourceExhausted,
        price.message().to_owned(),
        ErrorDetails::with_error_info("RATE_LIMITED", "proxy.example", HashMap::new()),
    );
    assert!(matches!(read_service_error(&limiter, Sent::NoPayment), ServiceError::Unavailable(_)));
    // A payee without details is understood by its message.
    let plain = Status::resource_exhausted(price.message());
    assert_eq!(
        read_service_error(&plain, Sent::NoPayment),
        ServiceError::PaymentRequired(Box::new(offer(600)))
    );
    assert!(matches!(
        read_service_error(&Status::unavailable(price.message()), Sent::NoPayment),
        ServiceError::Unavailable(_)
    ));
}

#[test]
fn after_a_payment_left_a_bare_status_leaves_the_outcome_open() {
    for code in (0..=16).map(Code::from_i32) {
        let read = read_service_error(&Status::new(code, "proxy"), Sent::Payment);
        assert!(matches!(read, ServiceError::Unknown(_)), "{code:?}");
    }
}

#[test]
fn only_rates_say_when_to_try_again_and_budgets_carry_a_quota_failure() {
    let check = BudgetCheck {
        budget: "scout-day".parse().unwrap(),
        account: AccountKey { budget: AccountKey::DELEGATION, subject: [0; 16] },
        limit: Nano::new(100),
        spent: Nano::new(60),
        held: Nano::new(30),
        asked: Nano::new(11),
        resets_at: Some(Timestamp::from_secs(1_700_000_000)),
    };
    let status = sent(&Status::from(&Rejection::OverBudget(Box::new(check))));
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert!(details.retry_info().is_none());
    assert_eq!(details.quota_failure().unwrap().violations.len(), 1);
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("LEDGER_OVER_BUDGET", DOMAIN));
    for (name, value) in [
        ("budget", "scout-day"),
        ("limit_nano", "100"),
        ("left_nano", "10"),
        ("asked_nano", "11"),
        ("resets_at", "2023-11-14T22:13:20.000Z"),
    ] {
        assert_eq!(info.metadata.get(name).map(String::as_str), Some(value));
    }

    let limited = Status::from(&ServiceError::RateLimited { retry_after_ms: 20 });
    let wait = limited.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(wait, Some(Duration::from_millis(20)));
}

#[test]
fn refusals_have_the_codes_of_the_table() {
    let agent = AgentId::from_bytes([1; 16]);
    let cases = [
        (Rejection::NoBudget { agent }, Code::PermissionDenied),
        (Rejection::UnknownAgent(agent), Code::NotFound),
        (Rejection::Paused { scope: Scope::All, reason: "drill".into() }, Code::FailedPrecondition),
        (Rejection::TokenTaken, Code::AlreadyExists),
        (Rejection::Full { what: "holds", bound: 3 }, Code::ResourceExhausted),
        (Rejection::StalePolicy { current: 2, asked: 1 }, Code::Unavailable),
    ];
    for (error, code) in cases {
        let status = Status::from(&error);
        assert_eq!(status.code(), code, "{error}");
        let reason = status.get_details_error_info().unwrap().reason;
        assert_eq!(reason, super::reason(error.code()));
        assert!(status.get_details_retry_info().is_none());
    }
    let damaged = JournalError::Damaged { seq: 3, problem: "hash".into() };
    assert_eq!(Status::from(&damaged).code(), Code::DataLoss);
}

#[test]
fn long_words_are_cut_between_characters() {
    assert_eq!(short("é".repeat(TEXT_LEN_MAX)).len(), TEXT_LEN_MAX);
    assert_eq!(
        short(format!("a{}", "é".repeat(TEXT_LEN_MAX))).len(),
        TEXT_LEN_MAX.saturating_sub(1)
    );
}
