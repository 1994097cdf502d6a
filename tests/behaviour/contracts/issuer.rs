//! What an issuer stops, and with which words: as USDC has it (FiatTokenV2_2).

use alloy::primitives::{B256, Bytes, U256};

use super::scene::Scene;
use crate::chain::{Chain, gas, payee, stranger, transferCall, transferWithAuthorizationCall};
use crate::evm::on_both_chains;

alloy::sol! {
    function pause() external;
    function unpause() external;
    function blacklist(address account) external;
    function unBlacklist(address account) external;
    function isBlacklisted(address account) external view returns (bool);
    function approve(address spender, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

const PAUSED: &str = "Pausable: paused";
const BLACKLISTED: &str = "Blacklistable: account is blacklisted";

on_both_chains!(k10_an_issuer_pauses_everything, k10_an_issuer_blacklists_either_end);

/// An authorization that nobody signed: what stops it for another reason looked before the signature.
fn unsigned() -> transferWithAuthorizationCall {
    transferWithAuthorizationCall {
        from: stranger().address(),
        to: payee(),
        value: U256::from(1),
        validAfter: U256::ZERO,
        validBefore: U256::MAX,
        nonce: B256::ZERO,
        signature: Bytes::from(vec![0; 65]),
    }
}

fn pay() -> transferCall {
    transferCall { to: payee(), value: U256::from(1) }
}

async fn k10_an_issuer_pauses_everything(chain: &Chain) {
    let scene = Scene::on(chain);
    let token = scene.deploy_token("FreezableUsdc", U256::from(10)).await;
    let owner = stranger().address();
    let other = gas().address();
    let not_yours = "Pausable: caller is not the pauser";
    scene.refused_saying(other, token, pauseCall {}, not_yours).await;
    scene.send(&stranger(), token, pauseCall {}).await;
    let approve = || approveCall { spender: other, value: U256::from(5) };
    scene.refused_saying(owner, token, pay(), PAUSED).await;
    scene.refused_saying(owner, token, approve(), PAUSED).await;
    scene.refused_saying(other, token, unsigned(), PAUSED).await;
    let take = || transferFromCall { from: owner, to: other, value: U256::from(5) };
    scene.refused_saying(other, token, take(), PAUSED).await;
    scene.refused_saying(other, token, unpauseCall {}, not_yours).await;

    scene.send(&stranger(), token, unpauseCall {}).await;
    scene.refused_saying(other, token, unsigned(), "ECRecover: invalid signature 'v' value").await;
    scene.send(&stranger(), token, pay()).await;
    scene.send(&stranger(), token, approve()).await;
    scene.send(&gas(), token, take()).await;
    assert_eq!((scene.balance(token, payee()).await, scene.balance(token, other).await), (1, 5));
}

async fn k10_an_issuer_blacklists_either_end(chain: &Chain) {
    let scene = Scene::on(chain);
    let token = scene.deploy_token("FreezableUsdc", U256::from(10)).await;
    let owner = stranger().address();
    let other = gas().address();
    let not_yours = "Blacklistable: caller is not the blacklister";
    scene.refused_saying(other, token, blacklistCall { account: owner }, not_yours).await;
    for account in [owner, payee()] {
        scene.send(&stranger(), token, blacklistCall { account }).await;
        assert!(scene.read(token, isBlacklistedCall { account }).await);
        scene.refused_saying(owner, token, pay(), BLACKLISTED).await;
        scene.refused_saying(other, token, unsigned(), BLACKLISTED).await;
        // Approvals stop with a pause alone.
        scene.send(&stranger(), token, approveCall { spender: other, value: U256::ONE }).await;
        let take = transferFromCall { from: owner, to: payee(), value: U256::ONE };
        scene.refused_saying(other, token, take, BLACKLISTED).await;
        scene.send(&stranger(), token, unBlacklistCall { account }).await;
        assert!(!scene.read(token, isBlacklistedCall { account }).await);
    }
    // Nor may who is blacklisted move what others allowed it to.
    scene.send(&stranger(), token, blacklistCall { account: other }).await;
    let take = || transferFromCall { from: owner, to: payee(), value: U256::ONE };
    scene.refused_saying(other, token, take(), BLACKLISTED).await;
    scene.send(&stranger(), token, unBlacklistCall { account: other }).await;
    scene.send(&gas(), token, take()).await;
    scene.send(&stranger(), token, pay()).await;
    assert_eq!(scene.balance(token, payee()).await, 2);
    assert_eq!(scene.balance(token, owner).await, 8);
}
