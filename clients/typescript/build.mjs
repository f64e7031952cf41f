// Builds `dist` from `src`: the module; the part of it that only persisting clients load; both in one file, for pages
// without a bundler, which the server's crate serves; the React hooks; the types. Checks the sizes. The file for pages is
// also kept under its version, for tests of later servers.
//
//   node build.mjs            writes dist and the kept file
//   node build.mjs --check    fails if they are not what src makes of it
//   node build.mjs --tests    writes the tests and the sources, module by module, to .build

import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";

/** Most bytes of each module, gzipped. */
const LIMITS = { "matssocket.js": 12 << 10, "durable.js": 4 << 10, "client.js": 16 << 10, "react.js": 1 << 10 };
const TARGET = "es2022";
process.chdir(import.meta.dirname ?? new URL(".", import.meta.url).pathname);

/** Where `client.js` of this version is kept. Once the version is released, the next one is kept beside it. */
const { version } = JSON.parse(await readFile("package.json", "utf8"));
const KEPT = `../../tests/upgrade/released/client-${version}.js`;

/** Keeps the second module apart: the first one loads it when a client persists. */
const apart = {
  name: "apart",
  setup({ onResolve }) {
    onResolve({ filter: /durable\/index\.js$/ }, () => ({ path: "./durable.js", external: true }));
  },
};

async function module(entryPoint, options = { plugins: [apart] }) {
  const { outputFiles } = await build({
    entryPoints: [entryPoint], bundle: true, write: false, format: "esm", target: TARGET, minify: true,
    legalComments: "none", charset: "utf8", ...options,
  });
  // It finds another 300 bytes.
  const { code } = await minify(outputFiles[0].text, { module: true, ecma: 2020, compress: { passes: 3 } });
  return `${code}\n`;
}

function tsc(...args) {
  const { status } = spawnSync("node_modules/.bin/tsc", args, { stdio: "inherit" });
  if (status !== 0) throw new Error("tsc failed");
}

/** The declarations of what is public: those of the client as one module, since its parts import nothing but each other. */
async function declarations() {
  const directory = await mkdtemp(join(tmpdir(), "matssocket-"));
  try {
    tsc("--project", "tsconfig.build.json", "--emitDeclarationOnly", "--outDir", directory);
    const read = (name) => readFile(join(directory, "src", `${name}.d.ts`), "utf8");
    const parts = await Promise.all(["errors", "api", "index"].map(read));
    return {
      // For `await using`, whatever libraries the application's compiler is told of.
      "matssocket.d.ts": `/// <reference lib="esnext.disposable" />\n\n${parts.map(publicPart).join("\n")}`,
      "react.d.ts": (await read("react")).replaceAll('"./api.js"', '"./matssocket.js"'),
    };
  } finally {
    await rm(directory, { recursive: true });
  }
}

function publicPart(text) {
  return text
    .replaceAll(/^(import|export \*) .*from ".*";\n/gm, "")
    .replace(/^(\/\/.*\n)+/, "")
    .replaceAll(/^export \{\};\n/gm, "")
    .trim() + "\n";
}

async function writeTests() {
  await rm(".build", { recursive: true, force: true });
  const files = async (directory) => (await readdir(directory, { recursive: true }))
    .filter((name) => name.endsWith(".ts")).map((name) => `${directory}/${name}`);
  const entryPoints = [...await files("src"), ...await files("tests")];
  await build({
    entryPoints, outdir: ".build", outbase: ".", format: "esm", target: TARGET, sourcemap: "inline", logLevel: "warning",
  });
}

async function main() {
  if (process.argv.includes("--tests")) return writeTests();
  const built = {
    "matssocket.js": await module("src/index.ts"),
    "durable.js": await module("src/durable/index.ts"),
    "client.js": await module("src/index.ts", {}),
    "react.js": await module("src/react.ts", { external: ["react"] }),
    ...await declarations(),
  };
  for (const [name, limit] of Object.entries(LIMITS)) {
    const size = gzipSync(built[name], { level: 9 }).length;
    console.log(`dist/${name}: ${built[name].length} bytes, ${size} gzipped, at most ${limit}`);
    if (size > limit) throw new Error(`dist/${name} has become too large`);
  }
  const files = Object.entries(built).map(([name, text]) => [`dist/${name}`, text]);
  files.push([KEPT, built["client.js"]]);
  if (process.argv.includes("--check")) {
    for (const [path, text] of files) {
      const current = await readFile(path, "utf8").catch(() => "");
      if (current !== text) throw new Error(`${path} is not current: run \`npm run build\``);
    }
    return;
  }
  await mkdir("dist", { recursive: true });
  for (const [path, text] of files) await writeFile(path, text);
}

main().catch((error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});
