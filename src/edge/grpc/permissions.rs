//! Who may call what: one row for each method of `bursar.v1`, checked when a server starts. A method
//! without a row is served by nobody.

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::edge::grpc::pb::FILE_DESCRIPTOR_SET;

/// Who may call a method.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum May {
    /// Whoever reaches it: what it takes is signed or paid for.
    Anybody,
    /// An agent, by its token.
    Agent,
    /// The operator, by socket or token.
    Operator,
    /// Either; an agent sees its own.
    AgentOrOperator,
}

/// Every method and who may call it.
const TABLE: [(&str, May); 31] = [
    ("/bursar.v1.InferenceService/Quote", May::Anybody),
    ("/bursar.v1.InferenceService/Infer", May::Anybody),
    ("/bursar.v1.InferenceService/InferStream", May::Anybody),
    ("/bursar.v1.DirectoryService/Announce", May::Anybody),
    ("/bursar.v1.DirectoryService/Find", May::Anybody),
    ("/bursar.v1.DirectoryService/Watch", May::Anybody),
    ("/bursar.v1.FacilitatorService/VerifyPayment", May::Anybody),
    ("/bursar.v1.FacilitatorService/SettlePayment", May::Anybody),
    ("/bursar.v1.FacilitatorService/GetSupported", May::Anybody),
    ("/bursar.v1.PaymentService/Pay", May::Agent),
    ("/bursar.v1.PaymentService/Preview", May::Agent),
    ("/bursar.v1.PaymentService/GetPayment", May::AgentOrOperator),
    ("/bursar.v1.PaymentService/ListPayments", May::AgentOrOperator),
    ("/bursar.v1.PaymentService/Explain", May::AgentOrOperator),
    ("/bursar.v1.BudgetService/ListBudgets", May::AgentOrOperator),
    ("/bursar.v1.BudgetService/Delegate", May::Agent),
    ("/bursar.v1.WalletService/ListWallets", May::AgentOrOperator),
    ("/bursar.v1.JournalService/Head", May::Operator),
    ("/bursar.v1.JournalService/Verify", May::Operator),
    ("/bursar.v1.JournalService/Watch", May::Operator),
    ("/bursar.v1.JournalService/Usage", May::Operator),
    ("/bursar.v1.OperatorService/AddAgent", May::Operator),
    ("/bursar.v1.OperatorService/ListAgents", May::Operator),
    ("/bursar.v1.OperatorService/ReplaceToken", May::Operator),
    ("/bursar.v1.OperatorService/Pause", May::Operator),
    ("/bursar.v1.OperatorService/Resume", May::Operator),
    ("/bursar.v1.OperatorService/ApplyPolicy", May::Operator),
    ("/bursar.v1.OperatorService/GetPolicy", May::Operator),
    ("/bursar.v1.OperatorService/ListChannels", May::Operator),
    ("/bursar.v1.OperatorService/CloseChannel", May::Operator),
    ("/bursar.v1.OperatorService/FundSandbox", May::Operator),
];

/// Who may call the method of this path.
pub fn find_permission(path: &str) -> Option<May> {
    TABLE.iter().find(|(known, _)| *known == path).map(|(_, may)| *may)
}

/// Whether every method of our services has its row, and every row its method.
///
/// # Errors
/// The paths that stand alone.
pub fn check_permissions() -> Result<(), Vec<String>> {
    let methods = methods();
    let undeclared = methods.iter().filter(|path| find_permission(path).is_none()).cloned();
    let rows = TABLE.iter().map(|(path, _)| (*path).to_owned());
    let unknown = rows.filter(|path| !methods.contains(path));
    let alone: Vec<String> = undeclared.chain(unknown).collect();
    if alone.is_empty() { Ok(()) } else { Err(alone) }
}

/// The path of every method that the protos have.
pub(super) fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)
        .expect("the descriptor set was made at build time");
    let ours = files.file.iter().filter(|file| file.package() == "bursar.v1");
    ours.flat_map(|file| &file.service)
        .flat_map(|service| {
            let path = |method: &str| format!("/bursar.v1.{}/{method}", service.name());
            service.method.iter().map(move |method| path(method.name()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z05_every_method_says_who_may_call_it() {
        assert_eq!(check_permissions(), Ok(()));
        assert_eq!(methods().len(), TABLE.len());
        assert_eq!(find_permission("/bursar.v1.OperatorService/Nothing"), None);
    }
}
