//! Budgets: what may still be spent, and delegation.

use tonic::{Request, Response, Status};

use super::shown::account;
use super::{Node, caller};
use crate::domain::id::{AgentId, Name};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::agent::Token;
use crate::domain::ledger::state::DELEGATION_DEPTH_MAX;
use crate::edge::grpc::convert::{Malformed, nano, parse, parse_some, time};
use crate::edge::grpc::guard::Caller;
use crate::edge::grpc::page::page;
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::budget_service_server::BudgetService;
use crate::edge::grpc::status::{malformed, refuse};
use crate::runtime::operator::NewDelegation;

#[tonic::async_trait]
impl BudgetService for Node {
    async fn list_budgets(
        &self,
        request: Request<pb::ListBudgetsRequest>,
    ) -> Result<Response<pb::ListBudgetsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked: Option<Name> =
            parse_some(request.agent.as_deref(), "agent").map_err(malformed)?;
        let now = self.clock.now();
        let look = move |ledger: &Ledger| {
            let of = match whose(ledger, caller, asked.as_ref())? {
                Some(agent) => ledger.accounts_of(agent, None, now),
                None => ledger.accounts(now),
            };
            let budgets = of.iter().map(|check| account(ledger, check));
            let (budgets, next_page_token) =
                page(sorted(budgets), key, &request.page_token, request.page_size);
            Ok(pb::ListBudgetsResponse { budgets, next_page_token })
        };
        let found: Result<_, Status> = self.treasury.read(look).await.map_err(refuse)?;
        found.map(Response::new)
    }

    async fn delegate(
        &self,
        request: Request<pb::DelegateRequest>,
    ) -> Result<Response<pb::DelegateResponse>, Status> {
        let Caller::Agent(parent) = caller(&request)? else {
            return Err(Status::permission_denied("the operator has no budget to delegate"));
        };
        let request = request.into_inner();
        let name: Name = parse(&request.agent, "agent").map_err(malformed)?;
        let child = AgentId::named(&name);
        let token = self.new_token(&name);
        let new = read_delegation(parent, name, &request, &token).map_err(malformed)?;
        self.operator.delegate(new).await.map_err(refuse)?;
        let find =
            move |ledger: &Ledger| ledger.find_agent(child).and_then(|child| child.delegation);
        let delegation = self.treasury.read(find).await.map_err(refuse)?;
        Ok(Response::new(pb::DelegateResponse {
            agent_id: child.to_string(),
            delegation_id: delegation.map(|id| id.to_string()).unwrap_or_default(),
            token: token.reveal().to_owned(),
        }))
    }
}

fn read_delegation(
    parent: AgentId,
    child: Name,
    request: &pb::DelegateRequest,
    token: &Token,
) -> Result<NewDelegation, Malformed> {
    Ok(NewDelegation {
        parent,
        child,
        token: token.hash(),
        limit: nano(&request.limit_nano, "limit_nano")?,
        until: time(request.until, "until")?,
    })
}

/// Whose accounts or payments a caller sees: the operator anybody's, an agent its own and those of
/// agents beneath it. `None` is everybody's. What an agent may not see, it cannot tell from nothing.
pub(super) fn whose(
    ledger: &Ledger,
    caller: Caller,
    asked: Option<&Name>,
) -> Result<Option<AgentId>, Status> {
    let asked = asked.map(AgentId::named);
    let hidden = || Status::not_found("no such agent");
    match (caller, asked) {
        (Caller::Operator, None) => Ok(None),
        (Caller::Operator, Some(agent)) => {
            ledger.find_agent(agent).map(|agent| Some(agent.id())).ok_or_else(hidden)
        }
        (Caller::Agent(own), None) => Ok(Some(own)),
        (Caller::Agent(own), Some(agent)) => {
            if is_beneath(ledger, agent, own) {
                Ok(Some(agent))
            } else {
                Err(hidden())
            }
        }
    }
}

/// Whether `agent` is `above`, or spends from what `above` delegated.
pub(super) fn is_beneath(ledger: &Ledger, agent: AgentId, above: AgentId) -> bool {
    let mut current = agent;
    for _ in 0..=DELEGATION_DEPTH_MAX {
        if current == above {
            return ledger.find_agent(agent).is_some();
        }
        let delegation = ledger.find_agent(current).and_then(|agent| agent.delegation);
        let terms = delegation.and_then(|delegation| ledger.find_delegation(delegation));
        match terms {
            Some(terms) => current = terms.parent,
            None => return false,
        }
    }
    false
}

fn key(account: &pb::BudgetAccount) -> String {
    format!("{} {}", account.budget, account.subject)
}

fn sorted(accounts: impl Iterator<Item = pb::BudgetAccount>) -> Vec<pb::BudgetAccount> {
    let mut accounts: Vec<_> = accounts.collect();
    accounts.sort_by_key(key);
    accounts
}
