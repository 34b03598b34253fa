// C programs compiled by gcc -O2, for 64-bit and 32-bit code, on the software CPU and as processes of the host: the same
// output.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { expect } from 'chai';
import { Cr, ExitReason, Gpr, openNvmm, StateFlag } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { bytes, longMode, protectedMode } from '../support/guest.js';
import { skip } from '../support/skip.js';
import { root } from './native.js';

const sources = join(root, 'test', 'cpu', 'programs');
const ORIGIN = 0x100000;
const SIZE = 0x100000;
const hex = (value: number): string => `0x${value.toString(16)}`;

/** By the name of a variant, the compiler's options. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  '64-bit': ['-m64'],
  '64-bit, x87': ['-m64', '-mfpmath=387'],
  '64-bit, BMI and SSE4.2': ['-m64', '-mbmi', '-mbmi2', '-msse4.2', '-mpopcnt', '-mmovbe', '-O3'],
  '32-bit': ['-m32', '-march=i686'],
  '32-bit, SSE2': ['-m32', '-march=i686', '-msse2', '-mfpmath=sse'],
};

const text = readFileSync(join(root, 'README.md'));

/** Why gcc makes no programs of this kind here that the host can run, or undefined. */
function missing(folder: string, options: readonly string[]): string | undefined {
  if (process.arch !== 'x64') return 'needs a host of x86-64';
  const source = join(folder, 'empty.c');
  const program = join(folder, 'empty');
  writeFileSync(source, '#include <string.h>\nint main(void) { return 0; }\n');
  const { error, status } = spawnSync('gcc', [...options, '-o', program, source], { stdio: 'ignore' });
  if (error !== undefined) return 'needs gcc';
  if (status !== 0)
    return options.includes('-m32') ? 'needs gcc-multilib' : `needs a gcc that takes ${options.join(' ')}`;
  const ran = spawnSync(program, { stdio: 'ignore' }).status === 0;
  return ran ? undefined : `needs a host that runs programs of ${options.join(' ')}`;
}

function compile(folder: string, name: string, options: readonly string[]): { native: string; guest: Uint8Array } {
  // -ffp-contract: no host has fused operations then. The x87 keeps its precision from one statement to the next alike.
  const common = [
    '-O2',
    '-std=gnu11',
    '-ffp-contract=off',
    '-fno-builtin',
    '-fno-math-errno',
    ...options,
    `-I${folder}`,
    `-I${sources}`,
  ];
  const program = [`${name}.c`, 'memory.c'].map((file) => join(sources, file));
  const native = join(folder, 'native');
  execFileSync('gcc', [...common, '-fno-pic', '-no-pie', '-o', native, ...program, join(sources, 'native.c')]);
  const image = join(folder, 'guest');
  const bare = [
    '-ffreestanding',
    '-fno-pic',
    '-fno-stack-protector',
    '-fno-asynchronous-unwind-tables',
    '-mno-red-zone',
  ];
  const link = ['-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none', `-Wl,--section-start=.start=${hex(ORIGIN)}`];
  const place = [`-Wl,-Ttext=${hex(ORIGIN + 0x1000)}`, '-Wl,-e,start', '-Wl,--oformat=binary'];
  execFileSync('gcc', [...common, ...bare, ...link, ...place, '-o', image, ...program, join(sources, 'guest.c')]);
  return { native, guest: readFileSync(image) };
}

function runInGuest(image: Uint8Array, wide: boolean, vendor: 'amd' | 'intel'): Buffer {
  using nvmm = openNvmm({ device: createMock({ vendor }) });
  using machine = nvmm.createMachine();
  const { vcpu } = (wide ? longMode : protectedMode)(machine, bytes('f4'));
  const memory = machine.allocate(SIZE);
  memory.bytes.set(image);
  machine.mapGpa(memory, ORIGIN);
  const { state } = vcpu;
  state.gprs[Gpr.RIP] = BigInt(ORIGIN);
  state.gprs[Gpr.RSP] = BigInt(ORIGIN + SIZE - (wide ? 8 : 4));
  state.crs[Cr.CR4] = state.crs[Cr.CR4]! | 0x600n; // OSFXSR, OSXMMEXCPT
  state.fpu.cw = 0x37f;
  state.fpu.mxcsr = 0x1f80;
  state.fpu.mxcsrMask = 0xffff; // else the driver clears MXCSR
  vcpu.setState(StateFlag.GPRS | StateFlag.CRS | StateFlag.FPU);
  const output: number[] = [];
  for (;;) {
    const reason = vcpu.run();
    if (reason === ExitReason.HALTED) return Buffer.from(output);
    if (reason === ExitReason.NONE) continue;
    if (reason !== ExitReason.IO) throw new Error(`The program ended with exit ${reason}:\n${vcpu.dump()}`);
    output.push(state.gprs32[2 * Gpr.RAX]! & 0xff);
    state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
    vcpu.setState(StateFlag.GPRS);
  }
}

describe('Programs compiled by gcc', function () {
  this.timeout(600_000);
  let folder: string;
  before(function () {
    folder = mkdtempSync(join(tmpdir(), 'nvmm-programs-'));
    const compressed = deflateRawSync(text, { level: 9 });
    writeFileSync(
      join(folder, 'compressed.h'),
      `#define OUTPUT_SIZE ${text.length}\nstatic const unsigned char compressed[] = {${[...compressed].join(', ')}};\n`,
    );
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  const support = ['guest.c', 'native.c', 'memory.c'];
  const names = readdirSync(sources).filter((file) => file.endsWith('.c') && !support.includes(file));
  for (const [variant, options] of Object.entries(VARIANTS)) {
    describe(variant, () => {
      before(function () {
        const reason = missing(folder, options);
        if (reason !== undefined) skip(this, reason);
      });
      for (const file of names) {
        const name = file.slice(0, -2);
        it(name, () => {
          const { native, guest } = compile(folder, name, options);
          const expected = execFileSync(native, { maxBuffer: 2 ** 26 });
          expect(expected.length).to.be.greaterThan(0);
          const wide = options.includes('-m64');
          for (const vendor of ['amd', 'intel'] as const) {
            const output = runInGuest(guest, wide, vendor);
            expect(output.equals(expected), `on ${vendor}, ${output.length} of ${expected.length} bytes`).to.equal(
              true,
            );
          }
          // Who checks both: the standards.
          if (name === 'inflate') expect(expected.subarray(4).equals(text)).to.equal(true);
          if (name === 'sha256') {
            expect(expected.subarray(0, 32).equals(createHash('sha256').update('abc').digest())).to.equal(true);
          }
        });
      }
    });
  }
});
