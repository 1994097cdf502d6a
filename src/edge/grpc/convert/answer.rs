//! Calls, usage and receipts.

use super::{
    Malformed, address, asset, bounded, hash, parse, parse_some, read, signature, signature_bytes,
    text,
};
use crate::domain::order::{Units, Usage};
use crate::domain::x402::order::SignedOrder;
use crate::domain::x402::read::URL_LEN_MAX;
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::edge::grpc::pb;
use crate::ports::paid_service::PaidCall;

impl From<&PaidCall> for pb::PaidCall {
    /// What goes into the message: the payment goes into metadata, the rest is the door's.
    fn from(call: &PaidCall) -> Self {
        Self {
            order: Some((&call.order).into()),
            quote: call.quote.as_ref().map(Into::into),
            content_type: call.content_type.clone(),
            body: call.body.clone(),
            signed_order: call.signed_order.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::PaidCall> for PaidCall {
    type Error = Malformed;

    /// The call as the message has it: without payment, peer, or the wish to stream.
    fn try_from(call: pb::PaidCall) -> Result<Self, Malformed> {
        Ok(Self {
            order: read(call.order, "order")?,
            quote: call.quote.map(|quote| read(Some(quote), "quote")).transpose()?,
            content_type: text(call.content_type, "content_type")?,
            body: call.body,
            payment: None,
            signed_order: call
                .signed_order
                .map(|signed| read(Some(signed), "signed_order"))
                .transpose()?,
            peer: None,
            streamed: false,
        })
    }
}

impl From<&SignedOrder> for pb::SignedOrder {
    fn from(signed: &SignedOrder) -> Self {
        Self {
            payer: signed.payer.to_string(),
            payment_id: signed.payment.to_string(),
            issued_at_s: signed.issued_at_s,
            signature: signature_bytes(&signed.signature),
        }
    }
}

impl TryFrom<pb::SignedOrder> for SignedOrder {
    type Error = Malformed;

    fn try_from(signed: pb::SignedOrder) -> Result<Self, Malformed> {
        Ok(Self {
            payer: address(&signed.payer, "payer")?,
            payment: parse(&signed.payment_id, "payment_id")?,
            issued_at_s: signed.issued_at_s,
            signature: signature(&signed.signature, "signature")?,
        })
    }
}

impl From<&Usage> for pb::Usage {
    fn from(usage: &Usage) -> Self {
        Self {
            input: usage.input.0,
            output: usage.output.0,
            bytes: usage.bytes,
            compute_ms: usage.compute_ms,
        }
    }
}

impl TryFrom<pb::Usage> for Usage {
    type Error = Malformed;

    fn try_from(usage: pb::Usage) -> Result<Self, Malformed> {
        Ok(Self {
            input: Units(usage.input),
            output: Units(usage.output),
            bytes: usage.bytes,
            compute_ms: usage.compute_ms,
        })
    }
}

impl From<&Receipt> for pb::Receipt {
    fn from(receipt: &Receipt) -> Self {
        Self {
            payment_id: receipt.payment.map(|payment| payment.to_string()),
            provider: receipt.provider.to_string(),
            resource: receipt.resource.clone(),
            payer: receipt.payer.to_string(),
            asset: receipt.asset.to_string(),
            amount: receipt.amount.to_string(),
            usage: Some((&receipt.usage).into()),
            transaction: receipt.transaction.map(|transaction| transaction.to_string()),
            issued_at_s: receipt.issued_at_s,
        }
    }
}

impl TryFrom<pb::Receipt> for Receipt {
    type Error = Malformed;

    fn try_from(receipt: pb::Receipt) -> Result<Self, Malformed> {
        Ok(Self {
            payment: parse_some(receipt.payment_id.as_deref(), "payment_id")?,
            provider: parse(&receipt.provider, "provider")?,
            resource: bounded(receipt.resource, URL_LEN_MAX, "resource")?,
            payer: address(&receipt.payer, "payer")?,
            asset: asset(&receipt.asset, "asset")?,
            amount: parse(&receipt.amount, "amount")?,
            usage: read(receipt.usage, "usage")?,
            transaction: receipt
                .transaction
                .map(|transaction| hash(&transaction, "transaction"))
                .transpose()?,
            issued_at_s: receipt.issued_at_s,
        })
    }
}

impl From<&SignedReceipt> for pb::SignedReceipt {
    fn from(signed: &SignedReceipt) -> Self {
        Self {
            receipt: Some((&signed.receipt).into()),
            service_key: signed.service_key.to_string(),
            signature: signature_bytes(&signed.signature),
        }
    }
}

impl TryFrom<pb::SignedReceipt> for SignedReceipt {
    type Error = Malformed;

    fn try_from(signed: pb::SignedReceipt) -> Result<Self, Malformed> {
        Ok(Self {
            receipt: read(signed.receipt, "receipt")?,
            service_key: address(&signed.service_key, "service_key")?,
            signature: signature(&signed.signature, "signature")?,
        })
    }
}
