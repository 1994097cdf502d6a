//! What Bursar does, seen from outside: each test is a sentence.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]

mod apart;
mod bazaar;
mod bypass;
mod chain;
mod channel_credit;
mod channel_doubts;
mod channel_ends;
mod channel_rail;
mod channel_refunds;
mod channel_relay;
mod channel_strangers;
mod channel_strict;
mod channel_threats;
mod channel_tokens;
mod channels;
mod choosing;
mod command_line;
mod contracts;
mod copies;
mod dust;
mod evm;
mod evm_faults;
mod evm_many;
mod evm_ranges;
mod facilitator;
mod facilitator_channels;
mod facilitator_contract_channels;
mod facilitator_first_payments;
mod facilitator_rows;
mod facilitator_wallets;
mod fetch;
mod flooded;
mod frozen;
mod gateway;
mod hand;
mod hostile;
mod kept_offers;
mod listed;
mod market;
mod node_commands;
mod observability;
mod openai;
mod other_keys;
mod paid_method;
mod paying;
mod permit2;
mod permit2_deposits;
mod quoted;
mod remote_facilitator;
mod repeated;
mod shown;
mod skewed;
mod streams;
mod tender;
mod terms;
mod tls;
mod trials;
mod two_facilitators;
mod upto;
mod watching;
