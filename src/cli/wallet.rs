//! `bursar wallet`: keys in the keystore. Needs no node.

use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use serde::Serialize;
use zeroize::Zeroizing;

use bursar::domain::id::Name;
use bursar::edge::clock::SystemEntropy;
use bursar::edge::config::Config;
use bursar::edge::keys::{Cost, Keystore, read_passphrase};

use super::args::{Args, KeyArgs, WalletCommand};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};
use super::passphrase::{passphrase, private_key};
use super::provider;

#[derive(Serialize)]
struct Row {
    name: Name,
    address: Address,
    file: String,
}

/// Makes, imports or shows keys.
pub fn run(args: &Args, command: &WalletCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        WalletCommand::New(key) => {
            let (store, phrase) = open(args, key, true)?;
            let address = store.create(&key.name, &phrase, &SystemEntropy)?;
            show(output, &row(&store, &key.name, address));
        }
        WalletCommand::Import { key_file, key } => {
            let text = match key_file {
                Some(file) => read_passphrase(file)?,
                None => private_key()?,
            };
            let (store, phrase) = open(args, key, true)?;
            let address = store.import(&key.name, &text, &phrase, &SystemEntropy)?;
            show(output, &row(&store, &key.name, address));
        }
        WalletCommand::Delegate { key, service } => delegate(args, key, *service, output)?,
        WalletCommand::Address { name, keys } => {
            let store = store(keys.as_deref(), args, config::find(args)?.as_ref());
            let names = match name {
                Some(name) => vec![name.clone()],
                None => store.names()?,
            };
            let rows: Vec<Row> = names
                .iter()
                .map(|name| Ok(row(&store, name, store.address(name)?)))
                .collect::<Result<_, Failure>>()?;
            output.show(&rows, || text(&rows));
        }
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Delegated {
    pay_to: Address,
    service_key: Address,
    delegation: String,
}

/// Signs a wallet's word for a service key, and shows what a provider's section needs.
fn delegate(
    args: &Args,
    key: &KeyArgs,
    service: Option<Address>,
    output: &Output,
) -> Result<(), Failure> {
    let service_key = match service {
        Some(address) => address,
        None => provider::service_key(&config::load(args)?)?.address(),
    };
    let (store, phrase) = open(args, key, false)?;
    let key = store.open(&key.name, &phrase)?;
    let delegation = key.delegate_to(service_key).to_string();
    let shown = Delegated { pay_to: key.address(), service_key, delegation };
    output.show(&shown, || {
        format!("pay_to = \"{}\"\ndelegation = \"{}\"", shown.pay_to, shown.delegation)
    });
    Ok(())
}

fn show(output: &Output, row: &Row) {
    output.show(row, || text(std::slice::from_ref(row)));
    output.note(&format!(
        "\nIn the configuration:\n\n[wallet.{0}]\nkey = \"keystore:{0}\"",
        row.name
    ));
}

fn text(rows: &[Row]) -> String {
    table(
        ["name", "address", "file"],
        rows.iter().map(|row| [row.name.to_string(), row.address.to_string(), row.file.clone()]),
    )
}

fn row(store: &Keystore, name: &Name, address: Address) -> Row {
    Row { name: name.clone(), address, file: store.path(name).display().to_string() }
}

/// The keystore and its passphrase, asked for twice where it is to seal a new key.
fn open(args: &Args, key: &KeyArgs, fresh: bool) -> Result<(Keystore, Zeroizing<String>), Failure> {
    let config = config::find(args)?;
    let store = store(key.keys.as_deref(), args, config.as_ref());
    let file = key.passphrase_file.clone();
    let file = file.or_else(|| config.and_then(|config| config.keys.passphrase_file));
    Ok((store, passphrase(file.as_deref(), fresh)?))
}

/// As asked, as configured, or beside where the configuration would be.
fn store(asked: Option<&Path>, args: &Args, config: Option<&Config>) -> Keystore {
    let folder = asked.map(PathBuf::from).or_else(|| config.map(|c| c.keys.folder.clone()));
    let beside = || args.config.parent().unwrap_or(Path::new("")).join("keys");
    Keystore::new(&folder.unwrap_or_else(beside), Cost::STANDARD)
}
