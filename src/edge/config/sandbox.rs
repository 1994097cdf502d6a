//! The small file that `bursar up --sandbox` writes where there is none.

/// The file: one network, one wallet, one budget, one role.
pub fn default_sandbox_file() -> &'static str {
    r#"# Bursar on its own sandbox chain: every signature is real, no money is.
version = 1

[network.sandbox]
kind = "sandbox"              # an EVM in this process, with USDC of its own
gas_account = "main"

[wallet.main]
key = "keystore:main"         # made on the first start

[keys]
passphrase_file = "keys/passphrase"   # made too: fit for a sandbox, not for money

[discovery]
allow_private = true          # the sandbox's providers are on this machine

[channels]                    # what may lie locked at providers that are paid by voucher
per_provider = "1 USD"
total = "5 USD"

[budget.fleet-day]            # all agents together, each day
applies_to = "*"
limit = "5 USD"
window = { calendar = "day" }

[role.worker]                 # bursar agent add NAME --role worker
per_call_max = "0.05 USD"
rates = { calls_per_minute = 600, concurrency = 16 }
allow_any = true              # any capability, model, provider and payee is meant
allow = { capabilities = ["*"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["exact", "batch-settlement"] }
"#
}
