//! What the demo's fleet is and does: everything that a seed fixes.

use std::path::Path;
use std::time::Duration;

use bursar::domain::id::Name;
use bursar::domain::ledger::channel::ChannelCaps;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::negotiation::{PayeeTerms, PayerStrategy, VolumeDiscount};
use bursar::domain::order::Units;
use bursar::domain::policy::PolicyDocument;
use bursar::domain::quote::{PriceTerms, Stride};
use bursar::edge::config::{Config, Problem};
use bursar::edge::keys::SigningKey;
use bursar::ports::entropy::{Entropy, SeededEntropy};
use bursar::runtime::channels::KeeperSettings;
use bursar::runtime::payee::Flowing;
use sha2::{Digest, Sha256};

use crate::runaway::Frenzy;
use crate::scout::Mission;
use crate::shared::{ANSWER, EMBED, GENERATE, SEARCH, name};

/// The demo's own part of its configuration; the roles come from the agents' own files.
const BASE: &str = r#"
version = 1

[network.sandbox]
kind = "sandbox"

[wallet.research]
key = "keystore:research"
[wallet.analyst]
key = "keystore:analyst"
[wallet.batch]
key = "keystore:batch"

[discovery]
allow_private = true

[budget.fleet-day]
applies_to = "*"
limit = "5 USD"
window = { calendar = "day" }

[budget.research-day]
applies_to = "group/research"
per = "group"
limit = "1 USD"
window = { calendar = "day" }
"#;

/// The agents' own role files.
const ROLES: [&str; 3] = [
    include_str!("../../../agents/scout/role.toml"),
    include_str!("../../../agents/analyst/role.toml"),
    include_str!("../../../agents/runaway/role.toml"),
];

/// Questions that the scouts choose from.
const QUESTIONS: &str = include_str!("../../../agents/models/corpus/questions.tsv");

/// What each wallet owns at first: 25 USDC.
pub const OPENING: Amount = Amount::new(25_000_000);

/// Questions that a scout asks itself, and those of each of its two sub-agents.
const OWN_QUESTIONS: usize = 6;
const DELEGATED_QUESTIONS: usize = 5;
const CHILDREN: usize = 2;

/// What a sub-agent may spend: room for four answers at the bargained price, not for five.
const DELEGATION: Nano = Nano::new(7_000_000);

/// Calls that the runaway makes at once.
const RUNAWAY_AT_ONCE: u64 = 200;

/// The policy, from the agents' own role files.
pub fn policy() -> Result<PolicyDocument, Vec<Problem>> {
    let text = format!("{BASE}\n{}", ROLES.join("\n"));
    Ok(Config::load(Path::new("demo.toml"), &text)?.policy)
}

/// Bargains for a fifth off, once, and takes the list price where it is refused.
pub fn bargaining() -> PayerStrategy {
    PayerStrategy { target_permille_of_list: 800, rounds_max: 1, ..PayerStrategy::default() }
}

/// How channels are kept: few, and each for many calls. What is not used comes back in the end.
pub const CHANNELS: KeeperSettings = KeeperSettings {
    caps: ChannelCaps { provider: Nano::new(1_000_000_000), total: Nano::new(3_000_000_000) },
    calls_a_deposit: 60,
    pool_max: 6,
    wait_max: Duration::from_secs(20),
    credit: true,
};

/// How long a payer would wait for what a provider does not claim, in seconds.
pub const WITHDRAW_DELAY_S: u64 = 900;

/// An agent to be added.
pub struct Hand {
    /// Its name.
    pub name: &'static str,
    /// Its role.
    pub role: &'static str,
    /// Its group.
    pub group: &'static str,
    /// The wallet it pays from.
    pub wallet: &'static str,
}

/// Who runs away.
pub const RUNAWAY: &str = "runaway";

/// The paying agents.
pub const HANDS: [Hand; 4] = [
    Hand { name: "scout-1", role: "scout", group: "research", wallet: "research" },
    Hand { name: "scout-2", role: "scout", group: "research", wallet: "research" },
    Hand { name: "analyst", role: "analyst", group: "market", wallet: "analyst" },
    Hand { name: RUNAWAY, role: "runaway", group: "batch", wallet: "batch" },
];

/// Every wallet.
pub const WALLETS: [&str; 3] = ["research", "analyst", "batch"];

/// What a provider of the demo is.
pub struct Shop {
    /// Its name.
    pub name: &'static str,
    /// What it sells, each at these terms.
    pub capabilities: &'static [&'static str],
    /// How it bargains.
    pub terms: PayeeTerms,
    /// Calls at once.
    pub concurrency: u32,
    /// The most output of one call.
    pub output_max: Units,
    /// Whether it takes channels too; who does not is paid call by call.
    pub by_channel: bool,
}

/// The providers: two scribes compete with the same model, and the cheaper one bounds its concurrency.
pub fn shops() -> [Shop; 4] {
    let firm =
        |flat, input, output| terms(prices(flat, input, output), prices(flat, input, output));
    [
        Shop {
            name: "librarian",
            capabilities: &[SEARCH, EMBED],
            terms: firm(100, 100, 200),
            concurrency: 64,
            output_max: Units(4000),
            by_channel: false,
        },
        Shop {
            name: "scribe-thrift",
            capabilities: &[GENERATE],
            terms: firm(104, 0, 2000),
            concurrency: 4,
            output_max: Units(512),
            by_channel: true,
        },
        Shop {
            name: "scribe-prime",
            capabilities: &[GENERATE],
            terms: firm(208, 0, 4000),
            concurrency: 64,
            output_max: Units(512),
            by_channel: true,
        },
        Shop {
            name: "analyst",
            capabilities: &[ANSWER],
            terms: terms(prices(2000, 0, 0), prices(1000, 0, 0)),
            concurrency: 256,
            output_max: Units(512),
            by_channel: true,
        },
    ]
}

/// What a voucher pays for of a text that is streamed: some of its tokens at a time.
pub fn flowing() -> Flowing {
    let list = Flowing::default();
    Flowing { stride: Stride { output: Units(16), ..list.stride }, ..list }
}

fn prices(flat: u128, per_1k_input: u128, per_1k_output: u128) -> PriceTerms {
    PriceTerms {
        flat: Amount::new(flat),
        per_1k_input: Amount::new(per_1k_input),
        per_1k_output: Amount::new(per_1k_output),
        ..PriceTerms::default()
    }
}

fn terms(list: PriceTerms, floor: PriceTerms) -> PayeeTerms {
    let volume_discount = VolumeDiscount::default();
    PayeeTerms { list, floor, volume_discount, rounds_max: 2 }
}

/// A key that follows from the seed. The sandbox's money is worth nothing; these keys guard no other.
pub fn key(seed: u64, label: &str) -> SigningKey {
    let mut round = 0_u8;
    loop {
        let mut hash = Sha256::new();
        hash.update(b"bursar demo");
        hash.update(seed.to_be_bytes());
        hash.update(label.as_bytes());
        hash.update([round]);
        let bytes: [u8; 32] = hash.finalize().into();
        // Fails once in 2^128: above the curve's order.
        if let Some(key) = SigningKey::from_bytes(&bytes) {
            return key;
        }
        round = round.wrapping_add(1);
    }
}

/// What pays for a provider's transactions.
pub fn gas_key(seed: u64, provider: &str) -> SigningKey {
    key(seed, &format!("{provider} gas"))
}

/// What a scout asks.
pub fn mission(seed: u64, scout: Name) -> Mission {
    let all: Vec<&str> = QUESTIONS
        .lines()
        .filter_map(|line| line.split('\t').next())
        .filter(|question| question.ends_with('?'))
        .collect();
    let entropy = SeededEntropy::new(seed ^ u64::from(scout.as_str().bytes().last().unwrap_or(0)));
    let draw = || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let count = u64::try_from(all.len()).unwrap_or(1).max(1);
        let place = u64::from_be_bytes(bytes).checked_rem(count).unwrap_or(0);
        let place = usize::try_from(place).unwrap_or(0);
        all.get(place).copied().unwrap_or("What is a hold?").to_owned()
    };
    let questions = (0..OWN_QUESTIONS).map(|_| draw()).collect();
    let delegated =
        (0..CHILDREN).map(|_| (0..DELEGATED_QUESTIONS).map(|_| draw()).collect()).collect();
    Mission { scout, questions, delegated, delegation: DELEGATION }
}

/// How the runaway runs away.
pub fn frenzy(seed: u64) -> Frenzy {
    Frenzy {
        agent: name(RUNAWAY),
        at_once: RUNAWAY_AT_ONCE,
        prompts: ["The budget", "A payment is", "The agent tried again", "No cap"]
            .map(str::to_owned)
            .to_vec(),
        seed,
    }
}
