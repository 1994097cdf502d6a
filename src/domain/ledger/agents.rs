//! The agents by id and by token, with what a hold has to know of each close at hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::id::{AgentId, GroupId, Name, RoleId};
use crate::domain::ledger::agent::{Agent, TokenHash};
use crate::domain::ledger::table::{Index, Row, Table};
use crate::domain::ledger::wallet::Wallets;

/// A role in a group: few, and shared by many agents, so that names are kept and hashed once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Team {
    role: Name,
    role_id: RoleId,
    group: Name,
    group_id: GroupId,
}

/// An agent as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    agent: Agent,
    wallet: Row,
    team: u32,
}

/// An agent that was found, and what would be slow to find again for each of its holds.
#[derive(Copy, Clone, Debug)]
pub(super) struct Found<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// Its role.
    pub role: RoleId,
    /// Its group.
    pub group: GroupId,
    /// Where its wallet is.
    pub wallet: Row,
}

/// All agents. None is ever taken away.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Agents {
    kept: Table<AgentId, Kept>,
    teams: Vec<Team>,
    #[serde(skip)]
    tokens: Index,
    #[serde(skip)]
    team_numbers: BTreeMap<(Name, Name), u32>,
}

impl PartialEq for Agents {
    fn eq(&self, other: &Self) -> bool {
        self.kept == other.kept && self.teams == other.teams
    }
}

impl Agents {
    /// An agent by its id.
    pub fn find(&self, agent: AgentId) -> Option<Found<'_>> {
        self.kept.find_row(&agent).map(|row| self.at(row))
    }

    /// Where an agent is, most likely: see [`Index::guess`].
    pub fn guess_row(&self, agent: AgentId) -> Option<Row> {
        self.kept.guess_row(&agent)
    }

    /// The agent that is there.
    pub fn at(&self, row: Row) -> Found<'_> {
        let kept = self.kept.at(row);
        let team = self.team_at(kept.team);
        let (role, group) = (team.role_id, team.group_id);
        Found { agent: &kept.agent, role, group, wallet: kept.wallet }
    }

    /// The id of the agent that is there.
    pub fn id_at(&self, row: Row) -> AgentId {
        *self.kept.key_at(row)
    }

    /// The agent that a token proves.
    pub fn find_token(&self, token: &TokenHash) -> Option<&Agent> {
        let row = self.tokens.find(token, |row| &self.kept.at(row).agent.token)?;
        Some(&self.kept.at(row).agent)
    }

    /// All agents, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.kept.iter().map(|(_, kept)| &kept.agent)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Adds an agent, whose wallet is open.
    pub fn add(&mut self, mut agent: Agent, wallets: &Wallets) {
        let team = self.team(&agent);
        let wallet = wallets.find_row(agent.wallet_id()).expect("an agent's wallet is open");
        self.share_names(&mut agent, team, wallets.at(wallet).name.clone());
        let row = self.kept.add(agent.id(), Kept { agent, wallet, team });
        let kept = &self.kept;
        self.tokens.insert(row, |row| &kept.at(row).agent.token);
    }

    /// Gives an agent another token; the old one proves nothing any more.
    pub fn replace_token(&mut self, agent: AgentId, token: TokenHash) {
        let row = self.kept.find_row(&agent).expect("a replaced token has an agent");
        self.tokens.remove(row, &self.kept.at(row).agent.token);
        self.kept.at_mut(row).agent.token = token;
        let kept = &self.kept;
        self.tokens.insert(row, |row| &kept.at(row).agent.token);
    }

    /// Makes again what a snapshot does not carry.
    pub fn reindex(&mut self, wallets: &Wallets) {
        self.kept.reindex();
        for (number, team) in (0..).zip(&self.teams) {
            self.team_numbers.insert((team.role.clone(), team.group.clone()), number);
        }
        for row in self.kept.numbers() {
            let kept = self.kept.at(row);
            let (mut agent, wallet) = (kept.agent.clone(), wallets.at(kept.wallet).name.clone());
            self.share_names(&mut agent, kept.team, wallet);
            self.kept.at_mut(row).agent = agent;
            let kept = &self.kept;
            self.tokens.insert(row, |row| &kept.at(row).agent.token);
        }
    }

    /// The number of the agent's role in its group.
    fn team(&mut self, agent: &Agent) -> u32 {
        let names = (agent.role.clone(), agent.group.clone());
        let number = u32::try_from(self.teams.len()).expect("there are fewer teams than agents");
        *self.team_numbers.entry(names).or_insert_with_key(|(role, group)| {
            self.teams.push(Team {
                role: role.clone(),
                role_id: agent.role_id(),
                group: group.clone(),
                group_id: agent.group_id(),
            });
            number
        })
    }

    fn team_at(&self, number: u32) -> &Team {
        let team = usize::try_from(number).ok().and_then(|number| self.teams.get(number));
        team.expect("an agent's team is kept")
    }

    /// Millions of agents share the text of a few names.
    fn share_names(&self, agent: &mut Agent, team: u32, wallet: Name) {
        let team = self.team_at(team);
        // An agent with a wallet of its own often gave it its own name.
        if agent.name == wallet {
            agent.name = wallet.clone();
        }
        (agent.role, agent.group, agent.wallet) = (team.role.clone(), team.group.clone(), wallet);
    }
}
