// Runs the ROM named by the first argument on the v86 of the folder named by the second; a third makes it interpret only.
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** As much of v86's API as is used here. */
interface V86 {
  add_listener(event: 'serial0-output-byte', listener: (byte: number) => void): void;
}
type V86Constructor = new (options: object) => V86;

const [rom = '', folder = '', interpret] = process.argv.slice(2);
const { V86 } = (await import(pathToFileURL(join(folder, 'libv86.mjs')).href)) as { V86: V86Constructor };
const { buffer, byteOffset, byteLength } = readFileSync(rom);
const machine = new V86({
  wasm_path: join(folder, 'v86.wasm'),
  memory_size: 64 * 2 ** 20,
  bios: { buffer: buffer.slice(byteOffset, byteOffset + byteLength) },
  disable_jit: interpret !== undefined,
  autostart: true,
});

let line = '';
machine.add_listener('serial0-output-byte', (byte) => {
  line += String.fromCharCode(byte);
  if (!line.endsWith('\n')) return;
  writeSync(1, line);
  if (line === 'end\n') process.exit();
  line = '';
});
