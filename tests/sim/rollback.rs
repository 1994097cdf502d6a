//! A payer whose ledger dies and is put back from old copies, against a payee that remembers. Seeded, like
//! the whole world, but with the keeper of channels alone. Source: threats.md E13, I10, I11.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Signature};
use bursar::domain::channel::{Ceiling, ChannelId};
use bursar::domain::commitment::{ChannelOffer, Commitment, Scheme, TransferMethod};
use bursar::domain::id::{AgentId, Fingerprint, PaymentId, RequestId, WalletId};
use bursar::domain::ledger::channel::{
    Channel, ChannelCaps, ChannelCommand, ChannelState, Charge, Frozen,
};
use bursar::domain::ledger::command::HoldAsk;
use bursar::domain::ledger::hold::FinalBlock;
use bursar::domain::ledger::{Bounds, Command, Ledger};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::time::Timestamp;
use bursar::domain::x402::batch::corrective::Correction;
use bursar::domain::x402::batch::read::DepositWord;
use bursar::ports::clock::{Clock, ManualClock};
use bursar::ports::entropy::SeededEntropy;
use bursar::ports::journal::{Entry, Journal, MemoryJournal};
use bursar::ports::signer::SeededSigner;
use bursar::runtime::channels::{Doubtful, Keeper, KeeperSettings, Lease, Lent, Need, PoolKey};
use bursar::runtime::treasury::{Settings, Treasury};
use bursar::sim::founding::{commands, wallet_address};
use bursar::sim::plan::Plan;
use bursar::sim::roles::{PRICE, START_S, USDC, assets, name};

/// Steps of one run.
const STEPS: u64 = 60;

/// How often one call tries for a channel at most; deposits that never arrive are over long before.
const TRIES_MAX: u32 = 60;

/// How far the clock goes with each try.
const TICK: Duration = Duration::from_secs(30);

const OFFER: ChannelOffer = ChannelOffer {
    receiver_authorizer: Address::repeat_byte(0xa7),
    withdraw_delay_s: 900,
    deposit_min: Amount::ZERO,
};

/// What the payee and the chain know of a channel. Neither forgets.
#[derive(Default)]
struct Till {
    deposits: BTreeSet<B256>,
    balance: u128,
    claimed: u128,
    charged: u128,
    voucher: Option<(Amount, Signature)>,
    /// The highest sum that was ever signed.
    signed: u128,
}

impl Till {
    fn take_in(&mut self, word: Option<DepositWord>) {
        let fresh = word.filter(|word| self.deposits.insert(word.salt));
        self.balance += fresh.map_or(0, |word| word.amount.get());
    }
}

/// What happened, over all seeds.
#[derive(Default, Debug)]
struct Count {
    served: u32,
    lost: u32,
    deaths: u32,
    rollbacks: u32,
    restored: u32,
    taken_over: u32,
}

/// The payer's process, and what is around it.
struct World {
    seed: u64,
    draws: SeededEntropy,
    clock: Arc<ManualClock>,
    journal: MemoryJournal,
    copy: Vec<Entry>,
    boot: u64,
    treasury: Treasury,
    keeper: Keeper,
    tills: BTreeMap<ChannelId, Till>,
    requests: u64,
    count: Count,
}

async fn start(
    seed: u64,
    journal: &MemoryJournal,
    clock: &Arc<ManualClock>,
    boot: u64,
) -> (Treasury, Keeper) {
    let settings = Settings { bounds: Bounds::default(), boot, snapshot_every: u64::MAX };
    let opened = Treasury::open(Arc::new(journal.clone()), clock.clone(), settings).await;
    let (treasury, task) = opened.unwrap();
    tokio::spawn(task.run());
    let signer = SeededSigner::new(Arc::new(treasury.clone()), &assets(), seed);
    let lots = Nano::new(1_000_000);
    let settings = KeeperSettings {
        caps: ChannelCaps { provider: lots, total: lots },
        calls_a_deposit: 4,
        pool_max: 6,
        wait_max: Duration::from_secs(20),
        credit: false,
    };
    let keeper = Keeper::open(treasury.clone(), Arc::new(signer), clock.clone(), settings).await;
    (treasury, keeper.unwrap())
}

impl World {
    async fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(START_S)));
        let journal = MemoryJournal::default();
        let (treasury, keeper) = start(seed, &journal, &clock, 1).await;
        let plan = Plan { seed, calls_max: 100_000, ..Plan::default() };
        for command in commands(&plan) {
            treasury.execute(command).await.unwrap();
        }
        let copy = journal.entries();
        Self {
            seed,
            draws: SeededEntropy::new(seed),
            clock,
            journal,
            copy,
            boot: 1,
            treasury,
            keeper,
            tills: BTreeMap::new(),
            requests: 0,
            count: Count::default(),
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.draws.next_u64() % bound
    }

    async fn channels(&self) -> Vec<Channel> {
        let look = |ledger: &Ledger| ledger.channels().cloned().collect();
        self.treasury.read(look).await.unwrap()
    }

    async fn tell(&self, command: ChannelCommand) {
        // Refused where it says nothing new.
        let _ = self.treasury.execute(Command::Channel(command)).await;
    }

    /// What a final block shows, told as reconciliation does.
    async fn reconcile(&self) {
        let time_s = self.clock.now().as_secs();
        let block = FinalBlock { hash: B256::repeat_byte(1), time_s };
        for found in self.channels().await {
            let channel = found.opened.id;
            let Some(till) = self.tills.get(&channel) else { continue };
            let transaction = B256::repeat_byte(2);
            match found.pending {
                Some(coming) if till.deposits.contains(&coming.deposit.salt) => {
                    self.tell(ChannelCommand::ConfirmDeposit { channel, transaction, block }).await;
                }
                Some(coming) if time_s >= coming.deposit.valid_before_s => {
                    self.tell(ChannelCommand::ExpireDeposit { channel, block }).await;
                }
                Some(_) => {}
                None => {
                    let most = found.balance().get();
                    let balance = Amount::new(till.balance.min(most));
                    let claimed = Amount::new(till.claimed.min(most));
                    self.tell(ChannelCommand::See { channel, balance, claimed, block }).await;
                }
            }
        }
    }

    async fn die(&mut self, entries: Option<Vec<Entry>>) {
        if let Some(entries) = entries {
            self.journal = MemoryJournal::default();
            self.journal.append(entries.into()).await.unwrap();
        }
        self.boot += 1;
        (self.treasury, self.keeper) =
            start(self.seed, &self.journal, &self.clock, self.boot).await;
    }

    fn key(&self) -> PoolKey {
        PoolKey {
            wallet: WalletId::named(&name("main")),
            role: name("scout"),
            provider: name("echoer"),
            asset: USDC,
            payer: wallet_address(self.seed),
            receiver: Address::repeat_byte(0x33),
            receiver_authorizer: OFFER.receiver_authorizer,
            withdraw_delay_s: OFFER.withdraw_delay_s,
        }
    }

    fn ask(&self, request: RequestId, channel: ChannelId) -> HoldAsk {
        let agent = AgentId::named(&name("ann"));
        HoldAsk {
            agent,
            payment: PaymentId::derive(agent, request, 0),
            request,
            attempt: 0,
            fingerprint: Fingerprint::from_bytes([9; 16]),
            commitment: Commitment {
                scheme: Scheme::BatchSettlement(OFFER),
                method: TransferMethod::Eip3009,
                asset: USDC,
                payer: wallet_address(self.seed),
                pay_to: Address::repeat_byte(0x33),
                amount_max: Amount::new(PRICE.into()),
                valid_after_s: 0,
                valid_before_s: u64::MAX,
                nonce: channel.0,
            },
            nano: Nano::new(PRICE),
            session: None,
            provider: name("echoer"),
            capability: name("echo"),
            model: name("echo-1"),
            quote: B256::repeat_byte(4),
            policy_version: 1,
            boot: self.boot,
        }
    }

    /// A channel on which the call is held; each that is in doubt is asked about before.
    async fn draw(&mut self, request: RequestId) -> Lease {
        let need = Need {
            payment: self.ask(request, ChannelId(B256::ZERO)).payment,
            amount: Amount::new(PRICE.into()),
            nano: Nano::new(PRICE),
            timeout_s: 600,
            deposit_min: Amount::ZERO,
            method: TransferMethod::Eip3009,
            doubtful: Doubtful::Ask,
        };
        for _ in 0..TRIES_MAX {
            self.clock.advance(TICK);
            match self.keeper.lend(&self.key(), &need).await.unwrap() {
                Lent::Doubted(doubted) => {
                    let (ceiling, _) = doubted.sign().await.unwrap();
                    let till = self.tills.entry(ceiling.channel).or_default();
                    let charged = till.charged;
                    assert!(ceiling.amount.get() <= charged, "SEED={} it could pay", self.seed);
                    let voucher = till.voucher;
                    let said = Correction { charged: Amount::new(charged), voucher };
                    let known = doubted.answered(&said).await.unwrap();
                    self.count.taken_over += u32::from(known);
                }
                Lent::Known(mut lease) => {
                    match lease.draw(self.ask(request, lease.channel)).await {
                        Ok(_) => return lease,
                        Err(_) => lease.give_back_unused(),
                    }
                    self.reconcile().await;
                }
            }
        }
        panic!("SEED={} no channel was ever found", self.seed);
    }

    async fn call(&mut self) {
        self.requests += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.requests.to_be_bytes());
        let request = RequestId::new(START_S * 1000, random);
        let mut lease = self.draw(request).await;
        let payment = self.ask(request, lease.channel).payment;
        let (ceiling, signature) = lease.sign(payment).await.unwrap();
        let Ceiling { channel, amount } = ceiling;
        let till = self.tills.entry(channel).or_default();
        till.signed = till.signed.max(amount.get());
        let (fate, units) = (self.draws.next_u64() % 8, self.draws.next_u64() % PRICE + 1);
        if fate == 0 {
            // It never reached its payee.
            self.count.lost += 1;
            return lease.doubt();
        }
        till.take_in(lease.deposit);
        let price = u128::from(PRICE);
        assert_eq!(amount.get(), till.charged + price, "SEED={} it is refused", self.seed);
        assert!(amount.get() <= till.balance, "SEED={} it is not covered", self.seed);
        till.charged += u128::from(units);
        till.voucher = Some((amount, signature));
        if fate == 1 {
            self.count.lost += 1;
            return lease.doubt();
        }
        self.count.served += 1;
        let charge = Charge { payment, amount: Amount::new(units.into()) };
        lease.charged(charge, Amount::new(price), true);
    }

    /// I10, I11: nobody could ever take more than one call's maximum above what was charged, nor more than
    /// lies there; and the ledger knows of no charge that was not made.
    async fn check(&self) {
        for (channel, till) in &self.tills {
            let exposed = till.signed.saturating_sub(till.charged);
            assert!(exposed <= u128::from(PRICE), "SEED={} {channel}: {exposed}", self.seed);
        }
        for found in self.channels().await {
            let till = self.tills.get(&found.opened.id);
            let charged = till.map_or(0, |till| till.charged);
            assert!(found.charged.get() <= charged, "SEED={}: {found:?}", self.seed);
        }
    }

    async fn step(&mut self) {
        match self.below(12) {
            0 => {
                self.count.deaths += 1;
                self.die(None).await;
            }
            1 => {
                self.count.rollbacks += 1;
                let copy = self.copy.clone();
                self.die(Some(copy)).await;
            }
            2 => self.copy = self.journal.entries(),
            3 => {
                for till in self.tills.values_mut() {
                    till.claimed = till.charged;
                }
                self.reconcile().await;
            }
            4 => self.reconcile().await,
            _ => self.call().await,
        }
        self.check().await;
    }
}

#[tokio::test]
async fn e13_a_ledger_that_dies_and_is_put_back_signs_nothing_that_its_payee_would_refuse() {
    let mut all = Count::default();
    for seed in crate::seeds(60) {
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        let frozen = |found: &Channel| found.state == ChannelState::Frozen(Frozen::Restored);
        let restored = world.channels().await.iter().filter(|found| frozen(found)).count();
        let Count { served, lost, deaths, rollbacks, taken_over, .. } = world.count;
        all.served += served;
        all.lost += lost;
        all.deaths += deaths;
        all.rollbacks += rollbacks;
        all.taken_over += taken_over;
        all.restored += u32::try_from(restored).unwrap();
    }
    println!("{all:?}");
    if std::env::var("SEED").is_err() {
        let Count { served, lost, deaths, rollbacks, restored, taken_over } = all;
        assert!(served > 500 && lost > 100 && deaths > 50 && rollbacks > 50, "{all:?}");
        assert!(restored > 0 && taken_over > 50, "{all:?}");
    }
}
