// examples/sandbox: a routine in C that is not trusted, with what it may do and what it tries.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import { openNvmm, type Nvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';
import ts from 'typescript';
import { evaluate } from '../../examples/sandbox/evaluate.guest.js';
import { callUntrusted, SandboxError, type Limits, type Routine } from '../../examples/sandbox/sandbox.js';
import { assemble, canCompile } from '../../scripts/guests.js';
import { node, packageFolder } from '../support/child.js';

const EXPRESSIONS: readonly (readonly [text: string, value: bigint])[] = [
  ['1', 1n],
  ['(1 + 2) * -3', -9n],
  ['2*3*7', 42n],
  ['10 - 4 - 3', 3n],
  ['7 / 2 - 100 / 7', -11n],
  ['9223372036854775807 + 1', -(2n ** 63n)],
];

async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('it did not fail');
}

for (const vendor of ['amd', 'intel'] as const) {
  describe(`examples/sandbox [${vendor}]`, () => {
    let nvmm: Nvmm;
    before(() => {
      nvmm = openNvmm({ device: createMock({ vendor }) });
    });
    after(() => {
      nvmm.close();
    });

    const call = (text: string, limits: Limits = {}, routine: Routine = evaluate): Promise<bigint> =>
      callUntrusted(nvmm, routine, Buffer.from(text), limits);

    it('gives the result, and what the routine logs', async () => {
      for (const [text, value] of EXPRESSIONS) {
        const logged: string[] = [];
        expect(await call(text, { log: (line) => logged.push(line) }), text).to.equal(value);
        expect(logged).to.deep.equal(['evaluated']);
      }
    });

    it('gives the error that the routine reports', async () => {
      expect((await failure(call('(1'))).message).to.equal('a ) is missing');
      expect((await failure(call(''))).message).to.equal('a number is missing');
    });

    it('ends a routine that spins, by a signal', async () => {
      expect((await failure(call('1 + !', { signal: AbortSignal.timeout(20) }))).name).to.equal('TimeoutError');
    });

    it('ends a routine that never stops talking', async () => {
      let count = 0;
      const error = await failure(call('#', { exits: 50, log: () => count++ }));
      expect(error).to.be.instanceOf(SandboxError);
      expect([error.message, count]).to.deep.equal(['The routine was ended after 50 exits.', 50]);
    });

    it('ends a routine that leaves its memory, crashes, or exhausts its stack', async () => {
      expect((await failure(call('@'))).message).to.equal('The routine wrote 0x30000000, which it may not.');
      expect((await failure(call('1 / 0'))).message).to.equal('The routine crashed.');
      expect((await failure(call('('.repeat(20_000)))).message).to.match(/wrote 0x1f.*which it may not/);
    });

    it('believes nothing that the routine says', async () => {
      // mov eax, CALL; mov rdi, ADDRESS; mov esi, LENGTH; out 0x10, eax
      const caller = (number: number, address: bigint, length: number): Routine => {
        const bytes = Buffer.from('b80000000048bf0000000000000000be00000000e710f4', 'hex');
        bytes.writeUInt32LE(number, 1);
        bytes.writeBigUInt64LE(address, 7);
        bytes.writeUInt32LE(length, 16);
        return { origin: 0x1000, bytes };
      };
      for (const [routine, message] of [
        [caller(2, 0x1000n, 0x7fff_ffff), 'The routine wrote a text of 2147483647 bytes.'],
        [caller(2, 0x3000_0000n, 8), 'The routine wrote a text from where it has no memory.'],
        [caller(2, 0xffff_ffff_ffff_fff8n, 16), 'The routine wrote a text from where it has no memory.'],
        [caller(99, 0n, 0), 'The routine made a call that does not exist: 99.'],
        [{ origin: 0x1000, bytes: Buffer.from('e660f4', 'hex') }, 'The routine used port 0x60.'],
        [{ origin: 0x1000, bytes: Buffer.from('f4', 'hex') }, 'The routine returned without a result.'],
      ] as const) {
        expect((await failure(call('', {}, routine))).message).to.equal(message);
      }
    });

    it('leaves no machine behind', () => {
      expect(nvmm.listMachines()).to.deep.equal([]);
    });

    it('does the same as this host’s gcc makes it', async function () {
      if (!canCompile()) this.skip();
      const { outputText } = ts.transpileModule(assemble(join('examples', 'sandbox', 'evaluate.c')), {
        compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
      });
      const folder = mkdtempSync(join(packageFolder, 'dist', 'guest-'));
      try {
        writeFileSync(join(folder, 'evaluate.mjs'), outputText);
        const { evaluate: fresh } = (await import(pathToFileURL(join(folder, 'evaluate.mjs')).href)) as {
          evaluate: Routine;
        };
        for (const [text, value] of EXPRESSIONS) expect(await call(text, {}, fresh), text).to.equal(value);
        expect((await failure(call('@', {}, fresh))).message).to.include('0x30000000');
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });
}

describe('examples/sandbox, the program', () => {
  it('evaluates its argument', async () => {
    const { status, stdout, stderr } = await node(['dist/examples/sandbox/evaluate.js', '6 * 7']);
    expect([status, stderr]).to.deep.equal([0, 'routine: evaluated\n']);
    expect(stdout).to.match(/^6 \* 7 = 42 \(computed in a guest on: (mock|kernel)\)\n$/);
  });

  it('fails when the routine does what it may not', async () => {
    const { status, stderr } = await node(['dist/examples/sandbox/evaluate.js', '@']);
    expect([status, stderr]).to.deep.equal([1, '@: The routine wrote 0x30000000, which it may not.\n']);
  });
});
