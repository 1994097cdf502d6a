// What the official facilitator signs and sends with.
import { toFacilitatorEvmSigner } from "@x402/evm";
import { createWalletClient, http, publicActions } from "viem";
import { baseSepolia } from "viem/chains";

export function gasAccount(account, rpc, pollingInterval) {
  const wallet = createWalletClient({ account, chain: baseSepolia, transport: http(rpc), pollingInterval })
    .extend(publicActions);
  return toFacilitatorEvmSigner({
    address: account.address,
    getCode: args => wallet.getCode(args),
    readContract: args => wallet.readContract(args),
    verifyTypedData: args => wallet.verifyTypedData(args),
    writeContract: args => wallet.writeContract({ ...args, account }),
    sendTransaction: args => wallet.sendTransaction({ ...args, account }),
    waitForTransactionReceipt: args => wallet.waitForTransactionReceipt(args),
  });
}
