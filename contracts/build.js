// Compiles src/*.sol with the pinned solc into artifacts/*.json. A file there holds the contract of
// its name; what several of them share is in src/shared/ and has no artifact of its own.
//
//   node build.js           writes the artifacts
//   node build.js --check   compiles again and compares; exit status 1 when anything differs
//
// The artifacts are committed, so that building Bursar needs neither node nor solc.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const SOURCES = path.join(__dirname, "src");
const ARTIFACTS = path.join(__dirname, "artifacts");
const SETTINGS = {
  optimizer: { enabled: true, runs: 20000 },
  evmVersion: "cancun",
  // No metadata hash: the bytecode then depends on the code alone, not on comments.
  metadata: { bytecodeHash: "none", appendCBOR: false },
};

function loadCompiler() {
  const wanted = require("./package.json").devDependencies.solc;
  let solc;
  try {
    solc = require("solc");
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    fail("solc is not installed: run `npm ci` in contracts/ first");
  }
  if (!solc.version().startsWith(`${wanted}+`)) {
    fail(`solc ${wanted} is pinned, but ${solc.version()} is installed: run \`npm ci\` in contracts/`);
  }
  return solc;
}

function solidity(folder) {
  const files = fs.readdirSync(path.join(SOURCES, folder)).filter((file) => file.endsWith(".sol"));
  return files.sort().map((file) => path.posix.join(folder, file));
}

function compile(solc) {
  const files = solidity("");
  const sources = [...files, ...solidity("shared")];
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(
      sources.map((file) => [file, { content: fs.readFileSync(path.join(SOURCES, file), "utf8") }]),
    ),
    settings: {
      ...SETTINGS,
      outputSelection: {
        "*": {
          "*": [
            "abi",
            "evm.bytecode.object",
            "evm.deployedBytecode.object",
          ],
        },
      },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const messages = output.errors ?? [];
  // A warning fails too: the contracts are small enough to have none.
  if (messages.length > 0) {
    fail(messages.map((message) => message.formattedMessage).join("\n"));
  }
  return files.map((file) => {
    const name = path.basename(file, ".sol");
    const contract = output.contracts[file][name];
    const artifact = {
      contract: name,
      compiler: { solc: solc.version(), settings: SETTINGS },
      abi: contract.abi,
      bytecode: `0x${contract.evm.bytecode.object}`,
      deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
    };
    return { file: path.join(ARTIFACTS, `${name}.json`), text: `${JSON.stringify(artifact, null, 2)}\n` };
  });
}

function check(artifacts) {
  const different = artifacts.filter(
    ({ file, text }) => !fs.existsSync(file) || fs.readFileSync(file, "utf8") !== text,
  );
  const wanted = new Set(artifacts.map(({ file }) => path.basename(file)));
  const stale = fs.readdirSync(ARTIFACTS).filter((file) => !wanted.has(file));
  if (different.length > 0 || stale.length > 0) {
    const names = [...different.map(({ file }) => path.basename(file)), ...stale];
    fail(`not what the sources compile to: ${names.join(", ")}; run \`node contracts/build.js\``);
  }
  console.log(`${artifacts.length} artifact(s) are what the sources compile to`);
}

function write(artifacts) {
  fs.mkdirSync(ARTIFACTS, { recursive: true });
  for (const { file, text } of artifacts) {
    fs.writeFileSync(file, text);
    console.log(`wrote ${path.relative(process.cwd(), file)}`);
  }
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const [flag, ...rest] = process.argv.slice(2);
if (rest.length > 0 || (flag !== undefined && flag !== "--check")) {
  fail("usage: node build.js [--check]");
}
const artifacts = compile(loadCompiler());
if (flag === "--check") check(artifacts);
else write(artifacts);
