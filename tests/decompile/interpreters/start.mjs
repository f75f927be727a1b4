// node start.mjs PACKAGE MOUNTS SCRIPT [ARGUMENT...]: runs a Python script in the CPython of a package
// `pyodide`. MOUNTS is a JSON object: the folder of this machine for each folder that the script sees.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

globalThis.require = createRequire(import.meta.url); // older packages want other packages without it
const [folder, mounts, script, ...rest] = process.argv.slice(2);
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const python = await loadPyodide({ indexURL: `${folder}/` });
for (const [inside, root] of Object.entries(JSON.parse(mounts))) {
  if (!existsSync(root)) throw new Error(`no folder ${root} to mount`);
  python.FS.mkdirTree(inside);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, inside);
}
python.globals.set("arguments", python.toPy([script, ...rest]));
python.runPython("import sys; sys.argv = arguments; sys.dont_write_bytecode = True");
try {
  python.runPython(readFileSync(script, "utf8"), { filename: script });
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
