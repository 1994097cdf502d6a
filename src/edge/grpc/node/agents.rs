//! The operator's door: agents, pauses, policy and channels.

use tonic::{Request, Response, Status};

use super::{Node, caller, channels};
use crate::domain::id::{AgentId, Name};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::agent::{Agent, Scope};
use crate::edge::grpc::convert::{Malformed, address, parse, text};
use crate::edge::grpc::page::page;
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::operator_service_server::OperatorService;
use crate::edge::grpc::status::{malformed, refuse};
use crate::runtime::operator::NewAgent;

#[tonic::async_trait]
impl OperatorService for Node {
    async fn add_agent(
        &self,
        request: Request<pb::AddAgentRequest>,
    ) -> Result<Response<pb::AddAgentResponse>, Status> {
        let by = caller(&request)?.principal();
        let request = request.into_inner();
        let name: Name = parse(&request.name, "name").map_err(malformed)?;
        let token = self.new_token(&name);
        let read = || {
            Ok(NewAgent {
                name,
                role: parse(&request.role, "role")?,
                group: parse(&request.group, "group")?,
                wallet: parse(&request.wallet, "wallet")?,
                token: token.hash(),
            })
        };
        let new = read().map_err(malformed)?;
        let agent = AgentId::named(&new.name);
        self.operator.add_agent(new, by).await.map_err(refuse)?;
        let token = token.reveal().to_owned();
        Ok(Response::new(pb::AddAgentResponse { agent_id: agent.to_string(), token }))
    }

    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let look = move |ledger: &Ledger| {
            let name = |agent: &&Agent| agent.name.to_string();
            let (agents, next) =
                page(ledger.agents(), name, &request.page_token, request.page_size);
            let agents = agents.into_iter().map(|agent| to_pb(ledger, agent)).collect();
            pb::ListAgentsResponse { agents, next_page_token: next }
        };
        Ok(Response::new(self.treasury.read(look).await.map_err(refuse)?))
    }

    async fn replace_token(
        &self,
        request: Request<pb::ReplaceTokenRequest>,
    ) -> Result<Response<pb::ReplaceTokenResponse>, Status> {
        let by = caller(&request)?.principal();
        let agent = parse(&request.into_inner().agent, "agent").map_err(malformed)?;
        let token = self.new_token(&agent);
        self.operator.replace_token(agent, token.hash(), by).await.map_err(refuse)?;
        Ok(Response::new(pb::ReplaceTokenResponse { token: token.reveal().to_owned() }))
    }

    async fn pause(
        &self,
        request: Request<pb::PauseRequest>,
    ) -> Result<Response<pb::PauseResponse>, Status> {
        let by = caller(&request)?.principal();
        let request = request.into_inner();
        let scope = scope(&request.scope).map_err(malformed)?;
        let reason = text(request.reason, "reason").map_err(malformed)?;
        let changed = self.operator.pause(scope, reason, by).await.map_err(refuse)?;
        Ok(Response::new(pb::PauseResponse { changed }))
    }

    async fn resume(
        &self,
        request: Request<pb::ResumeRequest>,
    ) -> Result<Response<pb::ResumeResponse>, Status> {
        let by = caller(&request)?.principal();
        let scope = scope(&request.into_inner().scope).map_err(malformed)?;
        let changed = self.operator.resume(scope, by).await.map_err(refuse)?;
        Ok(Response::new(pb::ResumeResponse { changed }))
    }

    async fn apply_policy(
        &self,
        request: Request<pb::ApplyPolicyRequest>,
    ) -> Result<Response<pb::ApplyPolicyResponse>, Status> {
        let by = caller(&request)?.principal();
        let request = request.into_inner();
        let name = text(request.file_name, "file_name").map_err(malformed)?;
        let reason = text(request.reason, "reason").map_err(malformed)?;
        let policy = (self.read_policy)(&request.document, &name)
            .map_err(|problems| malformed(Malformed::new("document", problems.join("\n"))))?;
        let before = self.treasury.read(|ledger| ledger.policy().clone()).await.map_err(refuse)?;
        let changes = changes(&before.document, &policy.to_json());
        if request.validate_only {
            let version = before.version;
            return Ok(Response::new(pb::ApplyPolicyResponse { version, changes }));
        }
        let (version, _) = self.operator.apply(&policy, reason, by).await.map_err(refuse)?;
        (self.applied)(version, &policy);
        Ok(Response::new(pb::ApplyPolicyResponse { version, changes }))
    }

    async fn get_policy(
        &self,
        _request: Request<pb::GetPolicyRequest>,
    ) -> Result<Response<pb::GetPolicyResponse>, Status> {
        let policy = self.treasury.read(|ledger| ledger.policy().clone()).await.map_err(refuse)?;
        let (version, document_json) = (policy.version, policy.document);
        Ok(Response::new(pb::GetPolicyResponse { version, document_json }))
    }

    async fn list_channels(
        &self,
        request: Request<pb::ListChannelsRequest>,
    ) -> Result<Response<pb::ListChannelsResponse>, Status> {
        channels::list(self, request.into_inner()).await.map(Response::new)
    }

    async fn close_channel(
        &self,
        request: Request<pb::CloseChannelRequest>,
    ) -> Result<Response<pb::CloseChannelResponse>, Status> {
        channels::close(self, request.into_inner()).await.map(Response::new)
    }

    async fn fund_sandbox(
        &self,
        request: Request<pb::FundSandboxRequest>,
    ) -> Result<Response<pb::FundSandboxResponse>, Status> {
        let request = request.into_inner();
        let to = address(&request.address, "address").map_err(malformed)?;
        let amount = parse(&request.amount, "amount").map_err(malformed)?;
        let Some(fund) = &self.fund else {
            return Err(Status::failed_precondition("this node runs no sandbox"));
        };
        let transaction = fund(to, amount).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(pb::FundSandboxResponse { transaction: transaction.to_string() }))
    }
}

/// `all`, `group/x`, `role/x` or `agent/x`, as [`Scope`] shows itself.
fn scope(text: &str) -> Result<Scope, Malformed> {
    match text.split_once('/') {
        None if text == "all" => Ok(Scope::All),
        Some(("group", name)) => parse(name, "scope").map(Scope::Group),
        Some(("role", name)) => parse(name, "scope").map(Scope::Role),
        Some(("agent", name)) => parse(name, "scope").map(Scope::Agent),
        _ => Err(Malformed::new("scope", "expected all, group/x, role/x or agent/x")),
    }
}

fn to_pb(ledger: &Ledger, agent: &Agent) -> pb::Agent {
    let pauses = |scope: &&Scope| match scope {
        Scope::All => true,
        Scope::Group(name) => *name == agent.group,
        Scope::Role(name) => *name == agent.role,
        Scope::Agent(name) => *name == agent.name,
    };
    pb::Agent {
        agent_id: agent.id().to_string(),
        name: agent.name.to_string(),
        role: agent.role.to_string(),
        group: agent.group.to_string(),
        wallet: agent.wallet.to_string(),
        delegation_id: agent.delegation.map(|delegation| delegation.to_string()),
        paused_by: ledger.pauses().map(|(scope, _)| scope).find(pauses).map(ToString::to_string),
    }
}

/// Most lines that say what changed.
const CHANGES_MAX: usize = 200;

/// What differs between two policies, a line for each place.
fn changes(before: &str, after: &str) -> Vec<String> {
    let read = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    let mut lines = Vec::new();
    differ("", &read(before), &read(after), &mut lines);
    lines.truncate(CHANGES_MAX);
    lines
}

fn differ(
    place: &str,
    before: &serde_json::Value,
    after: &serde_json::Value,
    lines: &mut Vec<String>,
) {
    use serde_json::Value;

    if before == after {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let added = new.keys().filter(|key| !old.contains_key(*key));
        for key in old.keys().chain(added) {
            let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            let nothing = &Value::Null;
            let (old, new) = (old.get(key).unwrap_or(nothing), new.get(key).unwrap_or(nothing));
            differ(&inner, old, new, lines);
        }
        return;
    }
    let place = if place.is_empty() { "policy" } else { place };
    lines.push(match (before, after) {
        (Value::Null, after) => format!("+ {place}: {after}"),
        (before, Value::Null) => format!("- {place}: {before}"),
        (before, after) => format!("~ {place}: {before} -> {after}"),
    });
}
