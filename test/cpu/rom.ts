// The ROM of the system-level tests: it brings the processor into a mode, runs a few instructions, and writes what there
// is to be seen (registers, tables, stacks) to a debug port. Every case begins with a reset, whose cause is a triple
// fault; the number of the next one survives in RAM.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The state that a case begins in: CS, DS, ES and SS flat, GPRs with known values, stack at 0x5000, interrupts off. */
export type Mode = 'real' | 'protected' | 'paged' | 'pae' | 'long';

export interface SystemCase {
  readonly name: string;
  readonly mode: Mode;
  /** Instructions in GNU as's Intel syntax; the case ends at the first exception, or at DONE. */
  readonly code: string;
}

export const ROM_BASE = 0xe0000;
export const ROM_SIZE = 0x20000;
export const DEBUG_PORT = 0xe9;
export const EXIT_PORT = 0xf4;

/** Memory that is part of a case's outcome: address and length in bytes. */
export const REGIONS = [
  ['registers', 0x800, 0x100],
  ['GDT', 0x1000, 0x100],
  ['TSS', 0x1400, 0x300],
  ['LDT', 0x3000, 0x40],
  ['stack', 0x4f80, 0x80],
  ['user stack', 0x5f80, 0x80],
  ['inner stack', 0x6f80, 0x80],
  ['data', 0x8000, 0x80],
  ['PML4', 0x10000, 0x10],
  ['PDPT', 0x11000, 0x10],
  ['PD', 0x12000, 0x40],
  ['PT', 0x13000, 0x200],
  ['32-bit PD', 0x14000, 0x20],
  ['32-bit PT', 0x15000, 0x100],
  ['PAE PDPT', 0x16000, 0x20],
] as const;

const MODES: readonly Mode[] = ['real', 'protected', 'paged', 'pae', 'long'];
const VECTORS = 64;
/** INT that ends a case. */
const DONE = 0x3f;

// Descriptors by selector. Code and the user's stack are accessed already: TCG does not set that bit at far transfers. Those of the TSS, LDT and gates take two places, for long mode.
const GDT: Readonly<Record<number, string>> = {
  0x08: '0x00cf9b000000ffff', // code
  0x10: '0x00cf92000000ffff', // data
  0x18: '0x00cffb000000ffff', // user code
  0x20: '0x00cff3000000ffff', // user data
  0x28: '0x00affb000000ffff', // user 64-bit code
  0x30: '0x00af9b000000ffff', // 64-bit code
  0x38: '0x00cf90000000ffff', // read-only data
  0x40: '0x0000890014000088', // TSS, with 32 bytes of I/O permission bitmap
  0x50: '0x000f9b000000ffff', // 16-bit code
  0x58: '0x000092000000ffff', // 16-bit data
  0x60: '0x00cf9f000000ffff', // conforming code
  0x68: '0x000082003000001f', // LDT
  0x78: '0x0000890015000067', // second TSS
  0x98: '0x00cf12000000ffff', // data, not present
  0xa0: '0x00c0960000000007', // expand-down data: valid from 0x8000
  0xa8: '0x0000e50000780000', // task gate
  0xb0: '0x000081001600002b', // 16-bit TSS
  0xb8: '0x00cf1a000000ffff', // code, not present
  0xc0: '0x00cfbb000000ffff', // code of privilege 1
  0xc8: '0x00cfb2000000ffff', // data of privilege 1
  0xd0: '0x00409200800000ff', // data: 256 bytes at 0x8000
  0xd8: '0x00cf99000000ffff', // execute-only code
  0xe0: '0x00ef9b000000ffff', // code with L and D
};

const frame = (bits: 32 | 64): string => `
common${bits}:
  ${bits === 32 ? 'pushad' : ['a', 'c', 'd', 'b'].map((r) => `push r${r}x`).join('; ') + '; push rbp; push rsi; push rdi; push r8; push r15'}
  ${bits === 32 ? 'push ds; push es' : 'mov eax, ds; push rax; mov eax, es; push rax'}
  push fs
  push gs
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  cld
  mov ${bits === 32 ? 'ebp, esp' : 'rbp, rsp'}
  mov edi, 0x800
  mov eax, 0x45534143
  stosd
  mov eax, [0x604]
  stosd
  mov eax, ebp
  stosd
  mov eax, ss
  stosd
  mov ecx, 0
1: mov eax, ss:[${bits === 32 ? 'ebp + ecx * 4' : 'rbp + rcx * 4'}]
  stosd
  inc ecx
  cmp ecx, 40
  jb 1b
  ${['cr0', 'cr2', 'cr3', 'cr4', 'dr6', 'dr7'].map((r) => `mov ${bits === 32 ? 'eax' : 'rax'}, ${r}; stosd`).join('\n  ')}
  xor eax, eax
  mov dr7, ${bits === 32 ? 'eax' : 'rax'}
  str ax
  stosd
  sldt ax
  stosd
  mov ecx, 0xc0000080
  rdmsr
  stosd
  mov esi, offset regions
2: mov ecx, [esi + 4]
  jecxz 4f
  push ${bits === 32 ? 'esi' : 'rsi'}
  mov esi, [esi]
  mov edx, ${DEBUG_PORT}
  rep outsb
  pop ${bits === 32 ? 'esi' : 'rsi'}
  add esi, 8
  jmp 2b
4: lidt [no_idt]
  int 3
`;

const stubs = (bits: number): string => `
.code${bits}
.balign 8
stubs${bits}:
.set n, 0
.rept ${VECTORS}
.balign 8
.byte 0x6a, n
jmp common${bits}
.set n, n + 1
.endr
`;

const FRAMEWORK = (cases: readonly SystemCase[]): string => `
.intel_syntax noprefix
.text
.code16
start:
  cli
  cld
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x5000
  mov ebx, [0x600]
  mov [0x604], ebx
  inc dword ptr [0x600]
  cmp ebx, ${cases.length}
  jb 1f
  mov al, 0
  out ${EXIT_PORT}, al
  hlt
1:
  mov di, 0x800         # everything but the number of the case is written anew
  mov cx, 0x200
  xor eax, eax
  rep stosd
  mov di, 0x3000
  mov cx, 0x1400
  rep stosd
  mov di, 0x1400
  mov cx, 0x100
  rep stosd
  mov eax, 0x03020100
  mov di, 0x8000
  mov cx, 0x400
1: stosd
  add eax, 0x04040404
  loop 1b
  mov ax, 0xe000        # GDT
  mov ds, ax
  mov si, offset gdt - ${ROM_BASE}
  mov di, 0x1000
  mov cx, 0x80
  rep movsd
  xor ax, ax
  mov ds, ax
  # IVT, IDT of 32 and of 64 bits
  mov di, 0
  mov eax, offset stubs16 - ${ROM_BASE} + 0xe0000000
  mov cx, ${VECTORS}
1: stosd
  add eax, 8
  loop 1b
  mov di, 0x1800
  mov eax, offset stubs32
  mov cx, ${VECTORS}
1: mov [di], ax
  mov word ptr [di + 2], 8
  mov word ptr [di + 4], 0x8e00
  ror eax, 16
  mov [di + 6], ax
  ror eax, 16
  cmp cx, ${VECTORS - 0x30}
  ja 2f
  mov byte ptr [di + 5], 0xee
2: add eax, 8
  add di, 8
  loop 1b
  mov byte ptr [0x1800 + 3 * 8 + 5], 0xee
  mov byte ptr [0x1800 + 4 * 8 + 5], 0xee
  mov di, 0x2000
  mov eax, offset stubs64
  mov cx, ${VECTORS}
1: mov [di], ax
  mov word ptr [di + 2], 0x30
  mov word ptr [di + 4], 0x8e00
  ror eax, 16
  mov [di + 6], ax
  ror eax, 16
  mov dword ptr [di + 8], 0
  mov dword ptr [di + 12], 0
  cmp cx, ${VECTORS - 0x30}
  ja 2f
  mov byte ptr [di + 5], 0xee
2: add eax, 8
  add di, 16
  loop 1b
  mov byte ptr [0x2000 + 3 * 16 + 5], 0xee
  # TSS
  mov dword ptr [0x1404], 0x7000
  mov dword ptr [0x1408], 0x10
  mov dword ptr [0x140c], 0x6800
  mov dword ptr [0x1410], 0xc9
  mov word ptr [0x1466], 0x68
  mov dword ptr [0x1484], 0xffffffff
  # Page tables: 0x13000 4 KiB pages, 0x12000 2 MiB pages, 0x15000 and 0x14000 the same of 32 bits
  push es
  mov ax, 0x1000
  mov es, ax
  xor eax, eax
  mov di, 0
  mov cx, 0xc00
  rep stosd
  mov dword ptr es:[0], 0x11007
  mov dword ptr es:[0x1000], 0x12007
  mov dword ptr es:[0x1008], 0x87
  mov di, 0x2000
  mov eax, 0x87
  mov cx, 512
1: mov es:[di], eax
  mov dword ptr es:[di + 4], 0
  add eax, 0x200000
  add di, 8
  loop 1b
  mov dword ptr es:[0x2000], 0x13007
  mov eax, 7
  mov cx, 512
1: mov es:[di], eax
  mov dword ptr es:[di + 4], 0
  add eax, 0x1000
  add di, 8
  loop 1b
  mov eax, 0x87
  mov cx, 1024
1: stosd
  add eax, 0x400000
  loop 1b
  mov dword ptr es:[0x4000], 0x15007
  mov eax, 7
  mov cx, 1024
1: stosd
  add eax, 0x1000
  loop 1b
  mov cx, 0x400
  xor eax, eax
  rep stosd
  mov dword ptr es:[0x6000], 0x12001
  pop es
  # into the mode
  shl bx, 3
  mov edx, cs:[bx + offset cases - ${ROM_BASE}]
  mov ebp, cs:[bx + offset cases - ${ROM_BASE} + 4]
  test edx, edx
  jnz 1f
  mov [0x608], bp
  mov word ptr [0x60a], 0xe000
  ${registers(16)}
  .byte 0xff, 0x2e, 0x08, 0x06  # jmp far [0x608]
1: lgdt cs:[gdt_pointer - ${ROM_BASE}]
  lidt cs:[idt32_pointer - ${ROM_BASE}]
  cmp edx, 4
  jne 1f
  lidt cs:[idt64_pointer - ${ROM_BASE}]
1: mov eax, cr0
  and eax, 0x9fffffff
  or eax, 0x21
  mov cr0, eax
  .byte 0x66, 0xea
  .long pm32
  .word 8

common16:
  pushad
  push ds
  push es
  push fs
  push gs
  xor ax, ax
  mov ds, ax
  mov es, ax
  cld
  mov bp, sp
  mov di, 0x800
  mov eax, 0x45534143
  stosd
  mov eax, [0x604]
  stosd
  movzx eax, bp
  stosd
  mov ax, ss
  stosd
  mov cx, 40
1: mov eax, ss:[bp]
  stosd
  add bp, 4
  loop 1b
  mov eax, cr0
  stosd
  mov eax, cr4
  stosd
  mov eax, dr6
  stosd
  mov eax, dr7
  stosd
  xor eax, eax
  mov dr7, eax
  mov si, offset regions - ${ROM_BASE}
2: mov ecx, cs:[si + 4]
  jecxz 4f
  push si
  mov esi, cs:[si]
  mov eax, esi
  shr eax, 4
  mov ds, ax
  and si, 15
  mov dx, ${DEBUG_PORT}
  rep outsb
  pop si
  add si, 8
  jmp 2b
4: lidt cs:[no_idt - ${ROM_BASE}]
  int 3
${stubs(16)}

.balign 8
gdt:
${Array.from({ length: 0x40 }, (_, i) => `.quad ${GDT[i * 8] ?? '0'}`).join('\n')}
gdt_pointer: .word 0x1ff; .long 0x1000
idt32_pointer: .word ${VECTORS * 8 - 1}; .long 0x1800
idt64_pointer: .word ${VECTORS * 16 - 1}; .long 0x2000
no_idt: .word 0; .long 0, 0
.balign 4
regions:
${REGIONS.map(([, address, length]) => `.long ${address}, ${length}`).join('\n')}
.long 0, 0
cases:
${cases.map(({ mode }, i) => `.long ${MODES.indexOf(mode)}, ${mode === 'real' ? `case${i} - ${ROM_BASE}` : `case${i}`}`).join('\n')}

.code16
${cases.map(({ mode, code }, i) => (mode === 'real' ? `case${i}:\n${code}\nint ${DONE}` : '')).join('\n')}

.code32
pm32:
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov fs, ax
  mov gs, ax
  mov esp, 0x5000
  cmp edx, 4
  jne 1f
  mov word ptr [0x1408], 0      # the upper half of RSP0
  mov dword ptr [0x140c], 0
  mov dword ptr [0x1410], 0
  mov dword ptr [0x1424], 0x4400 # IST1
1: mov ax, 0x40
  ltr ax
  cmp edx, 1
  je enter32
  mov eax, cr4
  or eax, 0x610                 # PSE, OSFXSR, OSXMMEXCPT
  cmp edx, 2
  je 1f
  or eax, 0x20
1: mov cr4, eax
  mov eax, 0x14000
  cmp edx, 2
  je 1f
  mov eax, 0x16000
  cmp edx, 3
  je 1f
  mov eax, 0x10000
1: mov cr3, eax
  mov ecx, 0xc0000080
  xor eax, eax
  cmp edx, 3
  jb 2f
  mov eax, 0x800                # NXE
  je 1f
  or eax, 0x101                 # LME, SCE
1: push edx
  xor edx, edx
  wrmsr
  pop edx
2: mov eax, cr0
  or eax, 0x80010000
  mov cr0, eax
  cmp edx, 4
  je 1f
enter32:
  mov [0x608], ebp
  ${registers(32)}
  jmp dword ptr [0x608]
1: .byte 0xea
  .long lm64
  .word 0x30
${frame(32)}
${stubs(32)}
.macro USER32 to, flags=2, stack=0x6000
  push 0x23
  push \\stack
  push \\flags
  push 0x1b
  push offset \\to
  iretd
.endm
.macro USER64 to, flags=2
  push 0x23
  push 0x6000
  push \\flags
  push 0x2b
  push offset \\to
  iretq
.endm
.macro LOADUSER
  mov ax, 0x23
  mov ds, ax
  mov es, ax
.endm
${cases.map(({ mode, code }, i) => (mode !== 'real' && mode !== 'long' ? `case${i}:\n${code}\nint ${DONE}` : '')).join('\n')}

.code64
lm64:
  mov [0x608], ebp
  mov dword ptr [0x60c], 0
  ${registers(64)}
  jmp qword ptr [0x608]
${frame(64)}
${stubs(64)}
${cases.map(({ mode, code }, i) => (mode === 'long' ? `.code64\ncase${i}:\n${code}\nint ${DONE}` : '')).join('\n')}

.org ${ROM_SIZE - 16}
.byte 0xea
.word start - ${ROM_BASE}, 0xe000
.org ${ROM_SIZE}
`;

function registers(bits: 16 | 32 | 64): string {
  const names = ['eax', 'ecx', 'edx', 'ebx', 'ebp', 'esi', 'edi'];
  const values = names.map((name, i) => `mov ${name}, ${0x11223300 + i}`);
  return bits === 64
    ? [
        ...values,
        ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'].map((name, i) => `mov ${name}, ${i + 1}`),
      ].join('\n  ')
    : values.join('\n  ');
}

/** Whether GNU as and ld for x86 are here. */
export function canAssemble(): boolean {
  try {
    return execFileSync('as', ['--64', '--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).includes('GNU');
  } catch {
    return false;
  }
}

/** The ROM that runs the cases one after another: 128 KiB, to end at 4 GiB and at 1 MiB. */
export function buildRom(cases: readonly SystemCase[]): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'nvmm-rom-'));
  try {
    const [source, object, binary] = ['rom.S', 'rom.o', 'rom.bin'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(source, FRAMEWORK(cases));
    execFileSync('as', ['--64', '-o', object, source], { stdio: ['ignore', 'pipe', 'pipe'] });
    const place = ['-Ttext', `0x${ROM_BASE.toString(16)}`, '-e', '0', '--oformat=binary'];
    execFileSync('ld', ['-m', 'elf_x86_64', ...place, '-o', binary, object], { stdio: ['ignore', 'pipe', 'pipe'] });
    return readFileSync(binary);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
