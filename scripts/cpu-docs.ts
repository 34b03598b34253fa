// npm run docs:cpu: writes docs/cpu.md, the instructions that the software CPU executes, from its opcode table.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nativeMockModule, type OpcodeRow } from '../lib/native.js';

/** Where the page lies. */
export const page = join(fileURLToPath(new URL('../..', import.meta.url)), 'docs', 'cpu.md');

const HEAD = `# The software CPU's instructions

Made from the opcode table (\`native/mock/cpu/opcodes.cc\`) by \`npm run docs:cpu\`: do not edit.

The processor of the mock executes real, virtual-8086, 16- and 32-bit protected and long mode, with 32-bit, PAE and 4-level paging.
What it executes is listed here; every other opcode raises #UD in the guest and is counted, by opcode, in \`counters().unknownOpcodes\`
([mock.md](mock.md#counters)). CPUID advertises no instruction that is not here, and the driver's filter hides some that are:
MONITOR, MWAIT and RDTSCP, for example, end in the exit or the #UD that NVMM gives them.

Operands are in the notation of the manuals' opcode maps: E a register or memory, G a general register, M memory, I an immediate,
J a relative target, V an XMM register, W an XMM register or memory, P and Q the same for MMX, S, C and D a segment, control and debug
register; b, w, d, q, v, z, y their sizes. \`/n\` is ModRM.reg, \`+r\` a register in the opcode. ¹ not in 64-bit mode, ² only there.

Where results are approximations, they keep the manuals' bounds, and may differ from a given processor's: F2XM1, FYL2X, FYL2XP1, FPTAN,
FPATAN, FSIN, FCOS and FSINCOS by one unit in the last place, RCPPS, RSQRTPS and their scalar forms within 1.5 · 2⁻¹². Flags and results
that the manuals leave undefined may differ, too. The x87's FCS and FDS are always 0. Where AMD's and Intel's processors differ (limits
at 4 GiB, far pointers with REX.W, the x87's pointers in an image of FXSAVE, flags of interrupted string instructions …) each of the two
models does as its own.
`;

const ESCAPES = ['', '0F ', '0F 38 ', '0F 3A '];
const PREFIXES = ['', '66 ', 'F3 ', 'F2 ', ''];

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');

function encoding(row: OpcodeRow): string {
  const suffix =
    row.modrm >= 0 ? ` ${hex(row.modrm)}` : row.extension >= 0 ? ` /${row.extension}` : row.inOpcode ? '+r' : '';
  const escape = row.vex ? `VEX ${PREFIXES[row.prefix]!}` : `${PREFIXES[row.prefix]!}${row.rexW ? 'REX.W ' : ''}`;
  const modes = row.no64 ? '¹' : row.only64 ? '²' : '';
  return `${escape}${ESCAPES[row.map]!}${hex(row.opcode)}${suffix}${row.operands === '' ? '' : ` ${row.operands}`}${modes}`;
}

const isX87 = (row: OpcodeRow): boolean => row.map === 0 && (row.opcode & 0xf8) === 0xd8;

const CHAPTERS: readonly (readonly [string, (row: OpcodeRow) => boolean])[] = [
  ['General and system instructions', (row) => !row.simd && !isX87(row)],
  ['x87', isX87],
  ['MMX and SSE to SSE4.2', (row) => row.simd],
];

/** The text of docs/cpu.md. */
export function cpuPage(): string {
  const rows = nativeMockModule().opcodes();
  const chapters = CHAPTERS.map(([title, belongs]) => {
    const mnemonics = new Map<string, string[]>();
    for (const row of rows.filter(belongs)) {
      const encodings = mnemonics.get(row.mnemonic) ?? [];
      mnemonics.set(row.mnemonic, encodings);
      encodings.push(encoding(row));
    }
    const lines = [...mnemonics]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([mnemonic, encodings]) => `| ${mnemonic} | ${encodings.join('; ')} |`);
    return `## ${title}\n\n| | encodings |\n| --- | --- |\n${lines.join('\n')}\n`;
  });
  return [HEAD, ...chapters].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(page, cpuPage());
