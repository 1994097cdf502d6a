// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Trial: makes a call, says whether it went through, and takes it back.
contract Trial {
    constructor(address to, uint256 gasMax, bytes memory input) {
        assembly ("memory-safe") {
            mstore(0, call(gasMax, to, 0, add(input, 0x20), mload(input), 0, 0))
            revert(0, 0x20)
        }
    }
}

/// @title Trials: tries calls out, each as if none of the others had been made.
/// @notice Never sent, only tried out: what it would leave as its code is the answer, a byte a call, 1 where it
///         went through. A 0 says nothing: there may have been too little gas for all of them.
contract Trials {
    struct Call {
        address to;
        uint256 gasMax;
        bytes input;
    }

    constructor(Call[] memory calls) {
        bytes memory said = new bytes(calls.length);
        for (uint256 place = 0; place < calls.length; ++place) {
            Call memory one = calls[place];
            try new Trial(one.to, one.gasMax, one.input) {}
            catch (bytes memory word) {
                if (word.length == 0x20 && bytes32(word) == bytes32(uint256(1))) said[place] = 0x01;
            }
        }
        assembly ("memory-safe") {
            return(add(said, 0x20), mload(said))
        }
    }
}
