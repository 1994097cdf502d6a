//! What goes wrong, when, and for how long.

use std::fs;
use std::time::Duration;

use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::node::reorganise_over_rpc;
use bursar::ports::clock::Clock;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::house::House;
use super::super::house::chance::Chance;
use super::super::house::part::Part;
use super::super::house::proxy::Mood;
use super::stage::FINAL_AFTER;

/// A kind of fault.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The node is killed, and started again.
    NodeKilled,
    /// A provider is killed, and started again.
    ProviderKilled,
    /// The facilitator is killed, and started again.
    FacilitatorKilled,
    /// The node is stopped where it is, and goes on.
    NodePaused,
    /// A provider is.
    ProviderPaused,
    /// The facilitator is.
    FacilitatorPaused,
    /// The chain is.
    ChainPaused,
    /// The agents' connections break, and no new ones come about.
    AgentsCutOff,
    /// Nothing comes through them.
    AgentsSilent,
    /// The node's connections to the chain break.
    NodeChainCut,
    /// The providers' do.
    ProviderChainCut,
    /// Between a provider and the facilitator nothing comes through.
    FacilitatorSilent,
    /// The connections between them break.
    FacilitatorCut,
    /// What the chain says comes late to both.
    ChainSlow,
    /// The chain takes blocks back, and what was in them is in others.
    ChainReorganised,
    /// The same, and what was in them is nowhere.
    ChainForgot,
    /// The node's files may not grow: its disk is full.
    DiskFull,
    /// A sync of the node's journal fails, and it is started again.
    SyncFailed,
    /// An operator pauses everybody, and takes that back.
    OperatorPaused,
    /// An operator lowers a cap beneath what may be spent already.
    CapLowered,
}

const KINDS: [Kind; 20] = [
    Kind::NodeKilled,
    Kind::ProviderKilled,
    Kind::FacilitatorKilled,
    Kind::NodePaused,
    Kind::ProviderPaused,
    Kind::FacilitatorPaused,
    Kind::ChainPaused,
    Kind::AgentsCutOff,
    Kind::AgentsSilent,
    Kind::NodeChainCut,
    Kind::ProviderChainCut,
    Kind::FacilitatorSilent,
    Kind::FacilitatorCut,
    Kind::ChainSlow,
    Kind::ChainReorganised,
    Kind::ChainForgot,
    Kind::DiskFull,
    Kind::SyncFailed,
    Kind::OperatorPaused,
    Kind::CapLowered,
];

impl Kind {
    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeKilled => "node_killed",
            Self::ProviderKilled => "provider_killed",
            Self::FacilitatorKilled => "facilitator_killed",
            Self::NodePaused => "node_paused",
            Self::ProviderPaused => "provider_paused",
            Self::FacilitatorPaused => "facilitator_paused",
            Self::ChainPaused => "chain_paused",
            Self::AgentsCutOff => "agents_cut_off",
            Self::AgentsSilent => "agents_silent",
            Self::NodeChainCut => "node_chain_cut",
            Self::ProviderChainCut => "provider_chain_cut",
            Self::FacilitatorSilent => "facilitator_silent",
            Self::FacilitatorCut => "facilitator_cut",
            Self::ChainSlow => "chain_slow",
            Self::ChainReorganised => "chain_reorganised",
            Self::ChainForgot => "chain_forgot",
            Self::DiskFull => "disk_full",
            Self::SyncFailed => "sync_failed",
            Self::OperatorPaused => "operator_paused",
            Self::CapLowered => "cap_lowered",
        }
    }
}

/// One fault, as it was.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// What a cap is lowered to, and what it was.
pub struct Caps<'c> {
    /// As the run began with it.
    pub whole: &'c str,
    /// Beneath what may be spent already.
    pub low: &'c str,
}

/// Lets one thing after the other go wrong until then. Each kind comes once before any comes twice.
pub async fn go_wrong(
    house: &mut House,
    caps: &Caps<'_>,
    chance: &mut Chance,
    until: Timestamp,
    say: &dyn Fn(&str),
) -> Result<Vec<Fault>, Failure> {
    let clock = SystemClock;
    let (mut faults, mut left) = (Vec::new(), Vec::new());
    loop {
        let calm = Duration::from_millis(chance.within(500, 2_500));
        clock.sleep_until(clock.now().after(calm)).await;
        if clock.now() >= until {
            return Ok(faults);
        }
        if left.is_empty() {
            left = KINDS.to_vec();
        }
        let most = u64::try_from(left.len()).unwrap_or(1);
        let kind = left.remove(usize::try_from(chance.within(0, most)).unwrap_or(0));
        let from = clock.now();
        go_wrong_once(house, kind, caps, chance).await?;
        let until = clock.now();
        say(&format!("{:<18} {:>6} ms", kind.as_str(), until.since(from).as_millis()));
        faults.push(Fault { kind, from, until });
    }
}

async fn go_wrong_once(
    house: &mut House,
    kind: Kind,
    caps: &Caps<'_>,
    chance: &mut Chance,
) -> Result<(), Failure> {
    let lasting = Duration::from_millis(chance.within(300, 4_000));
    let which = usize::try_from(chance.within(0, 2)).unwrap_or(0);
    match kind {
        Kind::NodeKilled => {
            house.node.kill();
            house.node.start(&[]).await?;
        }
        Kind::ProviderKilled => {
            if let Some(provider) = house.providers.get_mut(which) {
                provider.kill();
                last(lasting).await;
                provider.start(&[]).await?;
            }
        }
        Kind::FacilitatorKilled => {
            house.facilitator.kill();
            last(lasting).await;
            house.facilitator.start(&[]).await?;
        }
        Kind::NodePaused => stand_still(&house.node, lasting).await,
        Kind::FacilitatorPaused => stand_still(&house.facilitator, lasting).await,
        Kind::ChainPaused => stand_still(&house.chain, lasting).await,
        Kind::ProviderPaused => {
            if let Some(provider) = house.providers.get(which) {
                stand_still(provider, lasting).await;
            }
        }
        Kind::ChainReorganised | Kind::ChainForgot => {
            let blocks = chance.within(1, FINAL_AFTER.saturating_add(1));
            let again = kind == Kind::ChainReorganised;
            let taken = reorganise_over_rpc(&house.rpc, blocks, again).await;
            taken.map_err(|error| Failure::of(&error))?;
        }
        Kind::DiskFull => disk_full(house, lasting).await?,
        Kind::SyncFailed => sync_failed(house, lasting, chance).await?,
        Kind::OperatorPaused => {
            // Where the node cannot answer just now, an operator would be told so as well.
            let _ = house.command(&["pause", "all", "--reason", "a fault"]);
            last(lasting).await;
            resume(house).await?;
        }
        Kind::CapLowered => {
            apply(house, caps.whole, caps.low).await?;
            last(lasting).await;
            apply(house, caps.low, caps.whole).await?;
        }
        link => links(house, link, lasting).await,
    }
    Ok(())
}

async fn links(house: &House, kind: Kind, lasting: Duration) {
    let (links, mood) = match kind {
        Kind::AgentsCutOff => (vec![&house.agents_link], Mood::Cut),
        Kind::AgentsSilent => (vec![&house.agents_link], Mood::Silent),
        Kind::NodeChainCut => (vec![&house.node_chain_link], Mood::Cut),
        Kind::ProviderChainCut => (vec![&house.provider_chain_link], Mood::Cut),
        Kind::FacilitatorSilent => (vec![&house.facilitator_link], Mood::Silent),
        Kind::FacilitatorCut => (vec![&house.facilitator_link], Mood::Cut),
        _ => {
            let both = vec![&house.node_chain_link, &house.provider_chain_link];
            (both, Mood::Slow(Duration::from_millis(150)))
        }
    };
    links.iter().for_each(|link| link.be(mood));
    last(lasting).await;
    links.iter().for_each(|link| link.be(Mood::Whole));
}

async fn stand_still(part: &Part, lasting: Duration) {
    part.pause();
    last(lasting).await;
    part.go_on();
}

async fn last(lasting: Duration) {
    SystemClock.sleep_until(SystemClock.now().after(lasting)).await;
}

/// No file may grow by more than a little; then the node refuses, and is started anew with room.
async fn disk_full(house: &mut House, lasting: Duration) -> Result<(), Failure> {
    let log = house.ledger().with_extension("db-wal");
    let len = fs::metadata(&log).map_or(0, |found| found.len());
    if house.node.bound_files(Some(len.saturating_add(64 * 1024))) {
        last(lasting).await;
    }
    house.node.kill();
    house.node.start(&[]).await.map(|_| ())
}

async fn sync_failed(
    house: &mut House,
    lasting: Duration,
    chance: &mut Chance,
) -> Result<(), Failure> {
    house.node.kill();
    let commits = chance.within(1, 40).to_string();
    // A node that fails while it starts says so and ends: that is what it should do.
    let _ = house.node.start(&["--fail-sync-after", &commits]).await;
    last(lasting).await;
    house.node.kill();
    house.node.start(&[]).await.map(|_| ())
}

/// Takes a pause back; bounded, because a node that was just started may need a moment.
async fn resume(house: &House) -> Result<(), Failure> {
    const TRIES: u32 = 50;
    for _ in 0..TRIES {
        match house.command(&["resume", "all"]) {
            Ok(_) => return Ok(()),
            // It was not paused: the pause above never arrived.
            Err(failure) if failure.message.contains("unchanged") => return Ok(()),
            Err(_) => last(Duration::from_millis(200)).await,
        }
    }
    house.command(&["resume", "all"]).map(|_| ())
}

/// Puts another limit of the cap into the node's file, and the file in force.
async fn apply(house: &House, from: &str, to: &str) -> Result<(), Failure> {
    const TRIES: u32 = 50;
    let path = house.folder.join("node.toml");
    let system = |problem: std::io::Error| {
        let message = format!("the node's file: {problem}");
        Failure::new(super::super::exit::Exit::Failed, "prove.system", message)
    };
    let text = fs::read_to_string(&path).map_err(system)?;
    let text = text.replace(&format!("limit = \"{from} USD\""), &format!("limit = \"{to} USD\""));
    fs::write(&path, text).map_err(system)?;
    for _ in 0..TRIES {
        match house.command(&["apply", "--reason", "a fault"]) {
            Ok(_) => return Ok(()),
            Err(_) => last(Duration::from_millis(200)).await,
        }
    }
    house.command(&["apply", "--reason", "a fault"]).map(|_| ())
}
