// System-level cases on the software device and on QEMU's TCG: the same registers, tables and stacks. Where the two
// disagree the manuals decide; what TCG leaves out, or does otherwise, is named here.
import { expect } from 'chai';
import { skip } from '../support/skip.js';
import { hasQemu, runInMock, runInQemu, type Record } from './peers.js';
import { buildRom, canAssemble, type Mode } from './rom.js';
import { systemCases } from './system-cases.js';

/** Cases by their names, and why TCG is not followed there. */
const DEVIATIONS: readonly (readonly [RegExp, string])[] = [
  [
    /FFFF|beyond the stack|small segment|expand-down|beyond its limit|SS0 full|MOV SS, 0xa0|TSS too/,
    'no limits of segments',
  ],
  [/read-only data$|write to code|execute-only code$|null segment used|MOV DS of null/, 'no access rights of segments'],
  [/alignment check$/, 'no #AC'],
  [/: LTR 0x0$/, 'LTR of a null selector passes'],
  [/^protected: LDT$/, 'no limits of segments'],
  [/call gate to conforming code/, 'RPL of CS becomes DPL, not CPL'],
  [/16-bit call gate|16-bit interrupt gate|through 16-bit gate/, 'upper half of the offset is not ignored'],
  [/to privilege 1/, 'no accessed bit of an inner stack'],
  [/task: bad (CS|SS|DS)/, 'the exception is of the old task'],
  [/task: debug trap/, 'no T bit of the TSS'],
  [/task: 16 bits/, 'upper halves of registers (undefined)'],
  [/v86 with VME/, 'no VME'],
  [/: INT1$/, 'INT1 is #UD'],
  [/general detect/, 'no DR7.GD'],
  [/breakpoint on an instruction/, 'RF stays set'],
  [/I\/O breakpoint/, 'there are some; under NVMM the exit comes first'],
  [/contributory after benign/, 'no EXT in the error code'],
  [/reserved address bits|reserved bits of a large page/, 'no P in the error code of a reserved bit'],
  [/on an IST stack/, 'SS becomes null without a change of privilege'],
  [/L and D/, 'L with D is accepted'],
  [/non-canonical (address|base|jump|return)/, 'found when the address is used, or never'],
  [/CR0 above|CR8 above|EFER, reserved|clearing LME/, 'no reserved bits'],
  [/^long: gate (of|not)/, 'error code with twice the index'],
  [/single step over SYSCALL/, 'arithmetic flags are lost'],
];

/** Flags pushed by a fault have RF, which TCG leaves out; nor has a PDPTE of PAE paging an accessed bit. */
function tolerated(region: string, qemu: number, mock: number): boolean {
  const difference = (qemu ^ mock) >>> 0;
  return region === 'PAE PDPT' ? difference === 0x20 : difference === 0x10000 && (mock & 0x10000) !== 0;
}

const word = (value: number): string => value.toString(16).padStart(8, '0');

/** What is different, as text; nothing if they agree. */
function difference(qemu: Record | undefined, mock: Record | undefined): string {
  if (qemu === undefined && mock === undefined) return '';
  if (qemu === undefined) return 'QEMU resets';
  if (mock === undefined) return 'the mock resets';
  const found: string[] = [];
  for (const [region, bytes] of qemu) {
    const [q, m] = [bytes, mock.get(region)!].map((b) => new DataView(b.buffer, b.byteOffset, b.byteLength));
    for (let at = 0; at < q!.byteLength; at += 4) {
      const [a, b] = [q!.getUint32(at, true), m!.getUint32(at, true)];
      if (a !== b && !tolerated(region, a, b)) found.push(`${region}+${at.toString(16)} ${word(a)}, mock ${word(b)}`);
    }
  }
  return found.slice(0, 6).join('; ');
}

describe("The software CPU and QEMU's TCG", function () {
  this.timeout(600_000);
  // The suite takes every third; npm run test:cpu all.
  const chosen = systemCases.filter((_, i) => process.env['NVMM_TEST_CPU'] === 'all' || i % 3 === 0);
  let mock: Map<number, Record>;
  let qemu: Map<number, Record>;

  before(function () {
    if (!canAssemble()) skip(this, 'needs GNU as for x86-64, of binutils');
    if (!hasQemu()) skip(this, 'needs qemu-system-x86');
    const rom = buildRom(chosen);
    mock = runInMock(rom, 'amd');
    qemu = runInQemu(rom);
  });

  for (const mode of ['real', 'protected', 'paged', 'pae', 'long'] as const satisfies readonly Mode[]) {
    const numbers = chosen.flatMap((each, i) => (each.mode === mode ? [i] : []));
    it(`agree on ${numbers.length} cases that begin in mode ${mode}`, () => {
      const different = numbers.flatMap((i) => {
        const { name } = chosen[i]!;
        if (DEVIATIONS.some(([pattern]) => pattern.test(name))) return [];
        const found = difference(qemu.get(i), mock.get(i));
        return found === '' ? [] : [`${i} ${name}: ${found}`];
      });
      expect(different.join('\n')).to.equal('');
    });
  }
});
