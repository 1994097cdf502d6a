//! `bursar agent`: who is in the fleet.

use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::operator_service_client::OperatorServiceClient;
use serde::Serialize;

use super::args::{AgentCommand, Args};
use super::client::{refused, with_node};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};

/// Agents in one answer at most.
const PAGE_SIZE: u32 = 100;

#[derive(Serialize)]
struct NewToken {
    agent: String,
    token: String,
}

#[derive(Serialize)]
struct AgentRow {
    name: String,
    id: String,
    role: String,
    group: String,
    wallet: String,
    paused_by: Option<String>,
}

/// Adds an agent, lists them, or replaces a token.
pub fn run(args: &Args, command: &AgentCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        AgentCommand::Add { name, role, group, wallet } => {
            let message = pb::AddAgentRequest {
                name: name.to_string(),
                role: role.to_string(),
                group: group.to_string(),
                wallet: wallet.to_string(),
            };
            let added = with_node(args, async |client, _| {
                let mut operator = OperatorServiceClient::new(client.channel.clone());
                operator.add_agent(client.request(message)).await.map_err(|status| refused(&status))
            })?;
            let token = added.into_inner().token;
            show_token(output, &NewToken { agent: name.to_string(), token });
        }
        AgentCommand::Token { name } => {
            let message = pb::ReplaceTokenRequest { agent: name.to_string() };
            let replaced = with_node(args, async |client, _| {
                let mut operator = OperatorServiceClient::new(client.channel.clone());
                let request = client.request(message);
                operator.replace_token(request).await.map_err(|status| refused(&status))
            })?;
            let token = replaced.into_inner().token;
            show_token(output, &NewToken { agent: name.to_string(), token });
        }
        AgentCommand::List => list(args, output)?,
    }
    Ok(Exit::Done)
}

fn show_token(output: &Output, new: &NewToken) {
    output.show(new, || {
        format!("{}\n  the token of {}; it is shown this once", new.token, new.agent)
    });
}

fn list(args: &Args, output: &Output) -> Result<(), Failure> {
    let rows = with_node(args, async |client, _| {
        let mut operator = OperatorServiceClient::new(client.channel.clone());
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListAgentsRequest { page_size: PAGE_SIZE, page_token };
            let listed = operator.list_agents(client.request(message)).await;
            let page = listed.map_err(|status| refused(&status))?.into_inner();
            rows.extend(page.agents.into_iter().map(|agent| AgentRow {
                name: agent.name,
                id: agent.agent_id,
                role: agent.role,
                group: agent.group,
                wallet: agent.wallet,
                paused_by: agent.paused_by,
            }));
            if page.next_page_token.is_empty() {
                return Ok(rows);
            }
            page_token = page.next_page_token;
        }
    })?;
    output.show(&rows, || {
        table(
            ["agent", "role", "group", "wallet", "paused by", "id"],
            rows.iter().map(|row| {
                let paused = row.paused_by.clone().unwrap_or_default();
                let [name, role, group] = [&row.name, &row.role, &row.group].map(String::clone);
                [name, role, group, row.wallet.clone(), paused, row.id.clone()]
            }),
        )
    });
    Ok(())
}
