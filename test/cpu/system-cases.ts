// The cases of the system-level tests. What TCG does not check (reserved bits of control registers, PG without PE, PAE
// cleared under long mode …) is left to native/test/system_test.cc. Each begins in the state that rom.ts describes, and ends with the exception that
// it is about, or with what it has changed in registers and memory. Tables of cases are spread over operands.
import type { Mode, SystemCase } from './rom.js';

const all: SystemCase[] = [];
const add = (mode: Mode, name: string, code: string): void => {
  all.push({ name: `${mode}: ${name}`, mode, code });
};
const hex = (value: number): string => `0x${value.toString(16)}`;

// ---- Real mode ------------------------------------------------------------------------------------------------------
add(
  'real',
  'INT n and IRET',
  'push 0; mov word ptr [0x80], offset 1f - 0xe0000; mov word ptr [0x82], 0xe000; int 0x20; jmp 2f\n1: mov bx, 7; iret\n2:',
);
add('real', 'divide error', 'xor cx, cx; div cx');
add('real', 'BOUND', 'mov dword ptr [0x8000], 0x00050001; mov ax, 9; bound ax, [0x8000]');
add('real', 'INTO', 'mov al, 0x7f; add al, 1; into');
add('real', 'invalid opcode', 'ud2');
add('real', 'word at offset FFFF', 'mov bx, 0xffff; mov ax, [bx]');
add('real', 'dword beyond the stack', 'mov sp, 2; push eax');
add('real', 'ARPL does not exist', '.byte 0x63, 0xc0');
add('real', 'SLDT does not exist', '.byte 0x0f, 0x00, 0xc0');
add('real', 'LAR does not exist', '.byte 0x0f, 0x02, 0xc0');
add('real', 'single step', 'pushf; or word ptr [esp], 0x100; popf; mov bx, 1; mov bx, 2');
add('real', 'PUSHF and POPF of IOPL and NT', 'push 0x7002; popf; pushf; pop ax; mov [0x8000], ax; push 2; popf');
add(
  'real',
  'far call and return',
  'mov word ptr [0x8000], offset 1f - 0xe0000; mov word ptr [0x8002], 0xe000; .byte 0xff, 0x1e, 0x00, 0x80; jmp 2f\n1: mov bx, sp; .byte 0xcb\n2: nop',
);
add('real', 'limit of the IDT', 'lidt cs:[1f - 0xe0000]; int 0x20\n1: .word 0x7f; .long 0, 0');
add('real', 'SMSW and LMSW', 'smsw ax; mov [0x8000], ax; mov ax, 0x10; lmsw ax; smsw bx');
add(
  'real',
  'unreal mode',
  'push ds; lgdt cs:[gdt_pointer - 0xe0000]; mov eax, cr0; or al, 1; mov cr0, eax; mov bx, 0x10; mov ds, bx; and al, 0xfe; mov cr0, eax; pop ds; mov ebx, 0x110000; mov dword ptr [ebx], 0x5aa51234; mov eax, [ebx]; mov [0x8000], eax',
);
add(
  'real',
  'protected mode and back',
  'lgdt cs:[gdt_pointer - 0xe0000]; mov eax, cr0; or al, 1; mov cr0, eax; .byte 0xea; .word 1f - 0xe0000, 0x50\n1:',
);
add(
  'real',
  'data breakpoint',
  'mov eax, 0x8010; mov dr0, eax; mov eax, 0x00010702; mov dr7, eax; mov byte ptr [0x8010], 1; mov bx, 5',
);
add('real', 'LOCK of a register', '.byte 0xf0, 0x01, 0xc0');
add('real', 'AAM of 0', 'mov ax, 5; aam 0');
add('real', 'POP SS shades', 'pushf; or word ptr [esp], 0x100; push 0; mov bx, 0; popf; nop');
add(
  'real',
  'HLT is privileged nowhere, CLTS',
  'mov eax, cr0; or eax, 8; mov cr0, eax; clts; mov eax, cr0; mov [0x8000], eax',
);
add('real', 'FPU with TS', 'mov eax, cr0; or eax, 8; mov cr0, eax; fnop');
add('real', 'FPU with EM', 'mov eax, cr0; or eax, 4; mov cr0, eax; fnop');
add('real', 'WAIT with TS and MP', 'mov eax, cr0; or eax, 10; mov cr0, eax; fwait');
for (const size of ['b', 'w', 'd'])
  add('real', `REP MOVS${size} downwards`, `std; mov si, 0x8020; mov di, 0x8040; mov cx, 5; rep movs${size}; cld`);

// ---- Segments, in protected mode ------------------------------------------------------------------------------------
const SELECTORS = [
  0, 3, 0x08, 0x0b, 0x10, 0x11, 0x13, 0x18, 0x20, 0x23, 0x38, 0x40, 0x50, 0x58, 0x60, 0x63, 0x68, 0x88, 0x98, 0xa0,
  0xb8, 0xc0, 0xc8, 0xd8, 0x1f8, 0x200, 0xfff8, 0x14,
];
for (const selector of SELECTORS) {
  add('protected', `MOV DS, ${hex(selector)}`, `mov bx, ${selector}; mov ds, bx`);
  add('protected', `MOV SS, ${hex(selector)}`, `mov bx, ${selector}; mov ss, bx`);
  add('protected', `MOV ES, ${hex(selector)} at privilege 3`, `USER32 1f\n1: mov bx, ${selector}; mov es, bx`);
  add('protected', `far JMP to ${hex(selector)}`, `.byte 0xea; .long 1f; .word ${selector}\n1:`);
  add(
    'protected',
    `LAR, LSL, VERR, VERW of ${hex(selector)}`,
    `mov bx, ${selector}; xor ecx, ecx; xor edx, edx; xor esi, esi; xor edi, edi; lar ecx, ebx; setz al; and ecx, 0xfff0ffff; lsl edx, ebx; setz ah; verr bx; setz [0x8000]; verw bx; setz [0x8001]; cmp al, al`,
  );
}
for (const selector of [0, 0x08, 0x40, 0x68, 0x78, 0xb0, 0x98, 0x1f8, 0x200]) {
  add('protected', `LTR ${hex(selector)}`, `mov bx, ${selector}; ltr bx`);
  add('protected', `LLDT ${hex(selector)}`, `mov bx, ${selector}; lldt bx`);
}
add(
  'protected',
  'LDT',
  'mov dword ptr [0x3008], 0x8000001f; mov dword ptr [0x300c], 0x00409200; mov ax, 0x68; lldt ax; mov ax, 0xc; mov ds, ax; mov eax, [4]; mov ebx, [0x1d]',
);
for (const [name, operand] of [
  ['last dword', '0xfc'],
  ['beyond', '0xfd'],
  ['wrapping', '0xfffffffe'],
] as const)
  add('protected', `small segment: ${name}`, `mov bx, 0xd0; mov es, bx; mov eax, es:[${operand}]`);
for (const offset of [0, 0x7ffc, 0x7ffd, 0x8000, 0x8010])
  add('protected', `expand-down: ${hex(offset)}`, `mov bx, 0xa0; mov es, bx; mov eax, es:[${offset}]`);
add('protected', 'write to read-only data', 'mov bx, 0x38; mov es, bx; mov es:[0x8000], eax');
add('protected', 'write to code', 'mov cs:[0x8000], eax');
add('protected', 'read of execute-only code', '.byte 0xea; .long 1f; .word 0xd8\n1: mov eax, cs:[0x8000]');
add('protected', 'null segment used', 'xor bx, bx; mov es, bx; mov eax, es:[0x8000]');
add('protected', 'stack beyond its limit', 'mov bx, 0xd0; mov ss, bx; mov esp, 2; push eax');

// ---- Gates, privileges, returns -------------------------------------------------------------------------------------
const gate = (type: number, selector: number, to: string, count = 0): string =>
  `mov ecx, offset ${to}; mov [0x1088], cx; mov word ptr [0x108a], ${selector}; mov word ptr [0x108c], ${count | (type << 8)}; shr ecx, 16; mov [0x108e], cx`;
const call = '.byte 0x9a; .long 0; .word 0x88';
add('protected', 'call gate, same privilege', `${gate(0xec, 8, '1f')}; ${call}; jmp 2f\n1: mov ebx, [esp]; retf\n2:`);
add(
  'protected',
  'call gate, inner privilege',
  `${gate(0xec, 8, '2f')}; USER32 1f\n1: .byte 0x9a; .long 0; .word 0x8b\n2: mov ebx, [esp + 8]`,
);
add(
  'protected',
  'call gate with parameters, and back',
  `${gate(0xec, 8, '2f', 2)}; USER32 1f\n1: push 0x1111; push 0x2222; .byte 0x9a; .long 0; .word 0x8b; int 0x3f\n2: mov ebx, [esp + 8]; mov ecx, [esp + 12]; retf 8`,
);
add(
  'protected',
  'call gate to privilege 1',
  `${gate(0xec, 0xc0, '2f')}; USER32 1f\n1: .byte 0x9a; .long 0; .word 0x8b\n2: mov ax, cs; mov bx, ss`,
);
add(
  'protected',
  'call gate to conforming code',
  `${gate(0xec, 0x60, '2f')}; USER32 1f\n1: .byte 0x9a; .long 0; .word 0x8b\n2: mov ax, cs`,
);
add(
  'protected',
  'call gate of privilege 0 from 3',
  `${gate(0x8c, 8, '2f')}; USER32 1f\n1: .byte 0x9a; .long 0; .word 0x8b\n2:`,
);
add('protected', 'call gate not present', `${gate(0x6c, 8, '2f')}; ${call}\n2:`);
add('protected', 'call gate to data', `${gate(0xec, 0x10, '2f')}; ${call}\n2:`);
add('protected', 'call gate to null', `${gate(0xec, 0, '2f')}; ${call}\n2:`);
add('protected', 'call gate to code not present', `${gate(0xec, 0xb8, '2f')}; ${call}\n2:`);
add('protected', 'jump through a call gate', `${gate(0xec, 8, '2f')}; .byte 0xea; .long 0; .word 0x88\n2:`);
add(
  'protected',
  'jump through a call gate to inner code',
  `${gate(0xec, 8, '2f')}; USER32 1f\n1: .byte 0xea; .long 0; .word 0x8b\n2:`,
);
add(
  'protected',
  '16-bit call gate',
  `${gate(0xe4, 0x50, '2f')}; mov word ptr [0x1088], 0x9000; mov dword ptr [0x9000], 0x3fcd9090; ${call}\n2:`,
);
for (const [name, ss, esp] of [
  ['null SS0', 0, 0x7000],
  ['user SS0', 0x23, 0x7000],
  ['SS0 not present', 0x98, 0x7000],
  ['read-only SS0', 0x38, 0x7000],
  ['SS0 beyond the GDT', 0x200, 0x7000],
  ['SS0 full', 0xd0, 4],
] as const)
  add(
    'protected',
    `interrupt from user mode: ${name}`,
    `mov word ptr [0x1408], ${ss}; mov dword ptr [0x1404], ${esp}; USER32 1f\n1: int 0x30`,
  );
add('protected', 'interrupt from user mode', 'USER32 1f, 0x246\n1: int 0x30');
add('protected', 'interrupt gate of privilege 0 from 3', 'USER32 1f\n1: int 0x20');
add('protected', 'interrupt beyond the IDT', 'int 0x40');
add('protected', 'interrupt through nothing', 'mov dword ptr [0x1904], 0; int 0x20');
add('protected', 'interrupt gate not present', 'and byte ptr [0x1905], 0x7f; int 0x20');
add('protected', 'interrupt gate to data', 'mov word ptr [0x1902], 0x10; int 0x20');
add('protected', 'interrupt gate to null', 'mov word ptr [0x1902], 0; int 0x20');
add('protected', 'trap gate keeps IF', 'mov byte ptr [0x1905], 0x8f; sti; int 0x20');
add('protected', 'interrupt gate clears IF', 'sti; int 0x20');
add(
  'protected',
  '16-bit interrupt gate',
  'mov byte ptr [0x1905], 0x86; mov word ptr [0x1900], 0x9000; mov word ptr [0x1902], 8; mov dword ptr [0x9000], 0x3fcd9090; int 0x20; mov ebx, esp',
);
add('protected', 'interrupt in v86 code through 16-bit gate', 'mov byte ptr [0x1985], 0xe6; USER32 1f\n1: int 0x30');
add('protected', 'conforming interrupt handler', 'mov word ptr [0x1982], 0x60; USER32 1f\n1: int 0x30');
add('protected', 'conforming code', '.byte 0xea; .long 1f; .word 0x60\n1: mov ax, cs');
add(
  'protected',
  'conforming code from privilege 3',
  'USER32 1f\n1: .byte 0xea; .long 2f; .word 0x63\n2: mov ax, cs; pushfd; pop ebx',
);
const frame = (...values: (string | number)[]): string => values.map((value) => `push ${value}`).join('; ');
for (const [name, values] of [
  ['to outer privilege', [0x23, 0x6000, 0x246, 0x1b, 'offset 1f']],
  ['to the same privilege', [0x246, 8, 'offset 1f']],
  ['to privilege 1', [0xc9, 0x6000, 2, 0xc1, 'offset 1f']],
  ['with null CS', [2, 0, 'offset 1f']],
  ['with data as CS', [2, 0x10, 'offset 1f']],
  ['with CS not present', [2, 0xb8, 'offset 1f']],
  ['with null SS', [0, 0x6000, 2, 0x1b, 'offset 1f']],
  ['with SS of privilege 0', [0x10, 0x6000, 2, 0x1b, 'offset 1f']],
  ['with conforming CS', [2, 0x60, 'offset 1f']],
  ['with SS not present', [0x98, 0x6000, 2, 8, 'offset 1f']],
  ['with CS beyond the GDT', [2, 0x200, 'offset 1f']],
  ['sets NT and AC', [0x44002, 8, 'offset 1f']],
  ['sets RF', [0x10002, 8, 'offset 1f']],
  ['sets IOPL', [0x3002, 8, 'offset 1f']],
] as const)
  add('protected', `IRET ${name}`, `${frame(...values)}; iretd\n1: pushfd; pop ebx; push 2; popfd`);
for (const [name, values] of [
  ['to outer privilege', [0x23, 0x6000, 0x1b, 'offset 1f']],
  ['to privilege 1', [0xc9, 0x6000, 0xc1, 'offset 1f']],
  ['with null CS', [0, 'offset 1f']],
  ['with CS not present', [0xb8, 'offset 1f']],
  ['with SS of privilege 0', [0x10, 0x6000, 0x1b, 'offset 1f']],
] as const)
  add('protected', `RETF ${name}`, `${frame(...values)}; retf\n1: mov ax, cs; mov bx, ss`);
add(
  'protected',
  'RETF clears inner data segments',
  'mov ax, 0x10; mov es, ax; mov ax, 0x23; mov ds, ax; push 0x23; push 0x6000; push 0x1b; push offset 1f; retf\n1: mov ax, es; mov bx, ds; mov cx, fs',
);
add('protected', 'POPF at privilege 3 keeps IOPL and IF', 'USER32 1f\n1: push 0x3202; popfd; pushfd; pop ebx');
for (const instruction of [
  'cli',
  'sti',
  'hlt',
  'clts',
  'mov eax, cr0',
  'mov cr3, eax',
  'mov eax, dr7',
  'mov dr0, eax',
  'lgdt [0x8000]',
  'lidt [0x8000]',
  'lldt ax',
  'ltr ax',
  'lmsw ax',
  'invlpg [eax]',
  'wbinvd',
  'rdmsr',
  'wrmsr',
  'out 0x80, al',
  'insb',
  'outsb',
  'in al, dx',
])
  add('protected', `${instruction} at privilege 3`, `USER32 1f\n1: ${instruction}`);
for (const instruction of ['sgdt [0x8000]', 'sidt [0x8000]', 'sldt ax', 'str ax', 'smsw ax'])
  add('protected', `${instruction} at privilege 3`, `USER32 1f\n1: LOADUSER; ${instruction}`);
for (const instruction of ['sgdt [0x8000]', 'sldt ax', 'str ax', 'smsw ax'])
  add(
    'protected',
    `${instruction} at privilege 3 with UMIP`,
    `mov eax, 0x800; mov cr4, eax; USER32 1f\n1: LOADUSER; ${instruction}`,
  );
add('protected', 'RDTSC at privilege 3 with TSD', 'mov eax, 4; mov cr4, eax; USER32 1f\n1: rdtsc');

// ---- I/O permission -------------------------------------------------------------------------------------------------
for (const port of [0, 7, 8, 0xe9, 0xff, 0x100])
  add(
    'protected',
    `OUT ${hex(port)} by the bitmap`,
    `mov byte ptr [0x1468], 0x80; mov byte ptr [0x1469], 1; mov dx, ${port}; push edx; USER32 1f\n1: mov dx, ${port}; mov al, 0x55; cmp dx, 0xe9; je 2f; out dx, al\n2:`,
  );
add('protected', 'OUT of two ports, one denied', 'mov byte ptr [0x1468], 0x80; USER32 1f\n1: mov dx, 6; out dx, ax');
add('protected', 'IN with IOPL 3', 'USER32 1f, 0x3002\n1: in al, 0x61; mov al, 0');
add('protected', 'CLI and STI with IOPL 3', 'USER32 1f, 0x3202\n1: cli; pushfd; pop ebx; sti; pushfd; pop ecx; cli');

// ---- Tasks ----------------------------------------------------------------------------------------------------------
const task =
  'mov dword ptr [0x1520], offset 1f; mov dword ptr [0x1524], 2; mov dword ptr [0x1528], 0x1111; mov dword ptr [0x1538], 0x5800; mov dword ptr [0x1548], 0x10; mov dword ptr [0x154c], 8; mov dword ptr [0x1550], 0x10; mov dword ptr [0x1554], 0x10; mov dword ptr [0x1504], 0x7000; mov dword ptr [0x1508], 0x10';
add('protected', 'task: JMP', `${task}; .byte 0xea; .long 0; .word 0x78\n1: str bx`);
add(
  'protected',
  'task: CALL and IRET',
  `${task}; .byte 0x9a; .long 0; .word 0x78; str bx; jmp 2f\n1: pushfd; pop ecx; mov [0x8000], ecx; iretd\n2:`,
);
add('protected', 'task: gate', `${task}; .byte 0x9a; .long 0; .word 0xa8\n1: str bx`);
add(
  'protected',
  'task: interrupt through a gate',
  `${task}; mov dword ptr [0x1900], 0x780000; mov dword ptr [0x1904], 0xe500; int 0x20\n1: str bx`,
);
add(
  'protected',
  'task: exception with error code through a gate',
  `${task}; mov dword ptr [0x1868], 0x780000; mov dword ptr [0x186c], 0xe500; mov bx, 0x200; mov ds, bx\n1: pop edx; str bx`,
);
add('protected', 'task: busy', `${task}; or byte ptr [0x107d], 2; .byte 0xea; .long 0; .word 0x78\n1:`);
add('protected', 'task: not present', `${task}; and byte ptr [0x107d], 0x7f; .byte 0xea; .long 0; .word 0x78\n1:`);
add('protected', 'task: limit too low', `${task}; mov byte ptr [0x1078], 0x66; .byte 0xea; .long 0; .word 0x78\n1:`);
add('protected', 'task: bad CS', `${task}; mov dword ptr [0x154c], 0x10; .byte 0xea; .long 0; .word 0x78\n1:`);
add('protected', 'task: bad SS', `${task}; mov dword ptr [0x1550], 0x38; .byte 0xea; .long 0; .word 0x78\n1:`);
add('protected', 'task: bad DS', `${task}; mov dword ptr [0x1554], 0x200; .byte 0xea; .long 0; .word 0x78\n1:`);
add(
  'protected',
  'task: debug trap',
  `${task}; mov word ptr [0x1564], 1; .byte 0xea; .long 0; .word 0x78\n1: mov bx, 1`,
);
add(
  'protected',
  'task: 16 bits',
  'mov word ptr [0x160e], 0x9000; mov dword ptr [0x9000], 0x3fcd9090; mov word ptr [0x1610], 2; mov word ptr [0x161a], 0x5800; mov word ptr [0x1622], 0x10; mov word ptr [0x1624], 8; mov word ptr [0x1626], 0x10; mov word ptr [0x1628], 0x10; .byte 0xea; .long 0; .word 0xb0',
);
add('protected', 'task: IRET with NT and a bad link', 'push 0x4002; popfd; mov word ptr [0x1400], 0x10; iretd');
add(
  'paged',
  'task: CR3 of the new one',
  `${task}; mov dword ptr [0x151c], 0x14000; .byte 0xea; .long 0; .word 0x78\n1: mov eax, cr3`,
);

// ---- Virtual-8086 mode ----------------------------------------------------------------------------------------------
// Its code lies at 9000:0 and ends with INT 3F.
const v86 = (code: string, flags = 0x20002, cr4 = 0): string =>
  `mov eax, ${cr4}; mov cr4, eax; mov esi, offset 1f; mov edi, 0x9000; mov ecx, 64; rep movsb; push 0x33; push 0x44; push 0x55; push 0x66; push 0x500; push 0x1000; push ${flags}; push 0x900; push 0; iretd\n.code16\n1: ${code}; int 0x3f\n.code32\n`;
for (const [name, code] of [
  ['segments', 'mov ax, cs; mov bx, ds; mov cx, es; mov dx, ss'],
  ['memory', 'mov ax, 0x800; mov ds, ax; mov bx, [0]; mov [4], bx'],
  ['CLI', 'cli'],
  ['PUSHF', 'pushf'],
  ['POPF', 'popf'],
  ['IRET', 'push 2; push 0x900; push 6; iret'],
  ['INT n', 'int 0x21'],
  ['INT3', 'int3'],
  ['HLT', 'hlt'],
  ['MOV CR0', 'mov eax, cr0'],
  ['LGDT', 'lgdt [0]'],
  ['SLDT does not exist', '.byte 0x0f, 0x00, 0xc0'],
  ['OUT by the bitmap', 'mov al, 1; out 0x70, al'],
  ['word at FFFF', 'mov bx, 0xffff; mov ax, [bx]'],
  ['SMSW', 'smsw ax'],
] as const) {
  add('protected', `v86: ${name}`, v86(code));
  add('protected', `v86 with IOPL 3: ${name}`, v86(code, 0x23202));
}
add('protected', 'v86: OUT denied by the bitmap', `mov byte ptr [0x1476], 1; ${v86('mov al, 1; out 0x70, al')}`);
for (const code of ['cli', 'sti', 'pushf', 'pop ax']) add('protected', `v86 with VME: ${code}`, v86(code, 0xa0002, 1));
add(
  'protected',
  'v86 with VME: INT by the redirection bitmap',
  `mov word ptr [0x1466], 0x88; mov dword ptr [0x84], 0x09000010; ${v86('int 0x21', 0x20002, 1)}`,
);

// ---- Debug and single step ------------------------------------------------------------------------------------------
add('protected', 'single step', 'pushfd; or dword ptr [esp], 0x100; popfd; mov ebx, 1; mov ebx, 2');
add(
  'protected',
  'single step over MOV SS',
  'mov ax, 0x10; pushfd; or dword ptr [esp], 0x100; popfd; mov ss, ax; mov ebx, 2; mov ebx, 3',
);
add('protected', 'single step into INT n', 'pushfd; or dword ptr [esp], 0x100; popfd; int 0x20');
add('protected', 'INT1', '.byte 0xf1');
for (const [kind, name] of [
  [1, 'write'],
  [3, 'access'],
] as const)
  for (const [length, size] of [
    [0, 'byte'],
    [1, 'word'],
    [3, 'dword'],
  ] as const)
    add(
      'protected',
      `breakpoint on ${name} of a ${size}`,
      `mov eax, 0x8010; mov dr1, eax; mov eax, ${hex(0x700 + 8 + (((length << 2) | kind) << 20) + (kind === 3 ? 0 : 0))}; mov dr7, eax; mov ${kind === 1 ? `${size} ptr [0x8010], 5` : 'eax, [0x8010]'}; mov ebx, 9`,
    );
add(
  'protected',
  'breakpoint on an instruction, with RF',
  'mov eax, offset 1f; mov dr0, eax; mov eax, 0x702; mov dr7, eax; push 0x10002; push 8; push offset 1f; iretd\n1: mov ebx, 9',
);
add('protected', 'general detect', 'mov eax, 0x2400; mov dr7, eax; mov eax, dr0');
add('protected', 'DR4 with DE', 'mov eax, 8; mov cr4, eax; mov eax, dr4');
add('protected', 'DR4 without DE', 'mov eax, dr4');
add(
  'protected',
  'I/O breakpoint',
  'mov eax, 8; mov cr4, eax; mov eax, 0x80; mov dr0, eax; mov eax, 0x20702; mov dr7, eax; in al, 0x80; mov al, 0',
);

// ---- Exceptions -----------------------------------------------------------------------------------------------------
add('protected', 'double fault', 'mov word ptr [0x186a], 0x10; mov bx, 0x200; mov ds, bx');
add('protected', 'triple fault', 'mov word ptr [0x186a], 0x10; mov word ptr [0x1842], 0x10; mov bx, 0x200; mov ds, bx');
add('protected', 'fault in the delivery of a divide error', 'mov word ptr [0x1802], 0x10; xor ecx, ecx; div ecx');
add('protected', 'contributory after benign', 'mov word ptr [0x1832], 0x10; ud2');
add(
  'protected',
  'alignment check',
  'mov eax, cr0; or eax, 0x40000; mov cr0, eax; USER32 1f, 0x40002\n1: LOADUSER; mov eax, [0x8001]',
);
add(
  'protected',
  'alignment check of privilege 0',
  'mov eax, cr0; or eax, 0x40000; mov cr0, eax; push 0x40002; popfd; mov eax, [0x8001]; push 2; popfd',
);
add('protected', 'OUTS and INS at privilege 0', 'mov esi, 0x8000; mov dx, 0x80; mov ecx, 3; rep outsb');
add(
  'protected',
  'x87 exception',
  'mov eax, cr0; or eax, 0x20; mov cr0, eax; fninit; fldz; push 0x37b; fldcw [esp]; fld1; fdivrp; fwait',
);
add(
  'protected',
  'instruction of 16 bytes',
  '.byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90',
);
add('protected', 'ENTER with levels', 'mov ebp, 0x4f00; enter 16, 3');
add('protected', 'SYSENTER without CS', 'sysenter');
add(
  'protected',
  'SYSENTER and SYSEXIT',
  'mov ecx, 0x174; mov eax, 8; xor edx, edx; wrmsr; inc ecx; mov eax, 0x4e00; wrmsr; inc ecx; mov eax, offset 2f; wrmsr; USER32 1f\n1: mov ecx, 0x6000; mov edx, offset 3f; sysenter\n2: mov ebx, esp; sysexit\n3: mov ax, cs; mov bp, ss',
);
add(
  'protected',
  'SYSCALL with SCE',
  'mov ecx, 0xc0000080; rdmsr; or al, 1; wrmsr; mov ecx, 0xc0000081; mov eax, offset 2f; mov edx, 0x00100008; wrmsr; USER32 1f, 0x246\n1: syscall\n2: mov ax, cs; mov bx, ss; pushfd; pop esi',
);
add('protected', 'SYSCALL without SCE', 'syscall');

// ---- Paging ---------------------------------------------------------------------------------------------------------
const PAGE_MODES = [
  ['paged', 0x15000, 4],
  ['pae', 0x13000, 8],
  ['long', 0x13000, 8],
] as const;
for (const [mode, table, size] of PAGE_MODES) {
  const entry = (page: number): string => hex(table + page * size);
  const flush = mode === 'long' ? 'mov rax, cr3; mov cr3, rax' : 'mov eax, cr3; mov cr3, eax';
  const user = mode === 'long' ? 'USER64 1f' : 'USER32 1f';
  const loadUser = mode === 'long' ? '' : 'LOADUSER';
  const set = (bits: number): string => `mov dword ptr [${entry(0x20)}], ${hex(0x8000 | bits)}; ${flush}`;
  for (const bits of [0, 1, 2, 3, 4, 5, 6, 7]) {
    add(mode, `supervisor reads a page of ${bits}`, `${set(bits)}; mov ebx, [0x20010]`);
    add(mode, `supervisor writes a page of ${bits}`, `${set(bits)}; mov dword ptr [0x20010], 5`);
    add(mode, `user reads a page of ${bits}`, `${set(bits)}; ${user}\n1: ${loadUser}; mov ebx, [0x20010]`);
    add(mode, `user writes a page of ${bits}`, `${set(bits)}; ${user}\n1: ${loadUser}; mov dword ptr [0x20010], 5`);
  }
  add(
    mode,
    'supervisor writes a read-only page without WP',
    `${set(5)}; mov ${mode === 'long' ? 'rax' : 'eax'}, cr0; and eax, 0xfffeffff; mov cr0, ${mode === 'long' ? 'rax' : 'eax'}; mov dword ptr [0x20010], 5`,
  );
  add(mode, 'read across pages, the second missing', `mov dword ptr [${entry(0x21)}], 0; ${flush}; mov ebx, [0x20ffe]`);
  add(
    mode,
    'write across pages, the second missing',
    `mov dword ptr [${entry(0x21)}], 0; ${flush}; mov dword ptr [0x20ffe], 0x12345678`,
  );
  add(
    mode,
    'accessed and dirty',
    `mov ebx, [0x20000]; mov dword ptr [0x21000], 1; xor eax, eax; lock add [0x22000], eax; cmp byte ptr [0x23000], 0; cmp al, al`,
  );
  add(
    mode,
    'reserved bit, or PAT of a small page',
    `mov dword ptr [${entry(0x20)}], 0x8087; ${flush}; mov ebx, [0x20000]`,
  );
  add(
    mode,
    'jump to a missing page',
    `mov dword ptr [${entry(0x20)}], 0; ${flush}; mov ${mode === 'long' ? 'rax' : 'eax'}, 0x20000; jmp ${mode === 'long' ? 'rax' : 'eax'}`,
  );
  add(
    mode,
    'stack on a missing page',
    `mov dword ptr [${entry(0x20)}], 0; ${flush}; mov ${mode === 'long' ? 'rsp' : 'esp'}, 0x20800; push ${mode === 'long' ? 'rax' : 'eax'}`,
  );
  add(mode, 'large page', 'mov ebx, [0x200000]; mov dword ptr [0x200100], 0x77; mov ecx, [0x200100]');
  add(
    mode,
    'REP MOVS into a missing page',
    `mov dword ptr [${entry(0x21)}], 0; ${flush}; mov esi, 0x8000; mov edi, 0x20ff8; mov ecx, 16; rep movsb`,
  );
  add(
    mode,
    'REP STOS onto a read-only page',
    `mov dword ptr [${entry(0x21)}], 0x21005; ${flush}; mov edi, 0x20ff0; mov ecx, 8; rep stosd`,
  );
  add(
    mode,
    'INVLPG',
    `mov ebx, [0x20000]; mov dword ptr [${entry(0x20)}], 0x8007; invlpg [0x20000]; mov ecx, [0x20000]`,
  );
  add(
    mode,
    'SMEP',
    `${set(7)}; mov byte ptr [0x20000], 0xf4; mov ${mode === 'long' ? 'rax' : 'eax'}, cr4; or eax, 0x100000; mov ecx, 32; mov edi, ${hex(table + 0xe0 * size)}\n1: and byte ptr [${mode === 'long' ? 'rdi' : 'edi'}], 0xfb; add edi, ${size}; loop 1b; mov cr4, ${mode === 'long' ? 'rax' : 'eax'}; mov ${mode === 'long' ? 'rax' : 'eax'}, 0x20000; jmp ${mode === 'long' ? 'rax' : 'eax'}`,
  );
  for (const [name, flags] of [
    ['AC clear', 2],
    ['AC set', 0x40002],
  ] as const)
    add(
      mode,
      `SMAP, ${name}`,
      `mov ecx, 32; mov edi, ${hex(table)}\n1: and byte ptr [${mode === 'long' ? 'rdi' : 'edi'}], 0xfb; add edi, ${size}; loop 1b; mov edi, ${hex(table + 0xe0 * size)}; mov ecx, 16\n1: and byte ptr [${mode === 'long' ? 'rdi' : 'edi'}], 0xfb; add edi, ${size}; loop 1b; mov ${mode === 'long' ? 'rax' : 'eax'}, cr4; or eax, 0x200000; mov cr4, ${mode === 'long' ? 'rax' : 'eax'}; push ${flags}; popf${mode === 'long' ? 'q' : 'd'}; mov ebx, [0x20000]; push 2; popf${mode === 'long' ? 'q' : 'd'}`,
    );
  if (mode === 'paged') continue;
  const high = (page: number): string => hex(table + page * size + 4);
  add(
    mode,
    'no-execute page',
    `mov dword ptr [${high(0x20)}], 0x80000000; ${flush}; mov ${mode === 'long' ? 'rax' : 'eax'}, 0x20000; jmp ${mode === 'long' ? 'rax' : 'eax'}`,
  );
  add(mode, 'no-execute page read', `mov dword ptr [${high(0x20)}], 0x80000000; ${flush}; mov ebx, [0x20000]`);
  add(
    mode,
    'no-execute in a directory',
    `mov dword ptr [0x1200c], 0x80000000; ${flush}; mov ${mode === 'long' ? 'rax' : 'eax'}, 0x200000; jmp ${mode === 'long' ? 'rax' : 'eax'}`,
  );
  add(mode, 'reserved address bits', `mov dword ptr [${high(0x20)}], 0x00080000; ${flush}; mov ebx, [0x20000]`);
  add(mode, 'reserved bits of a large page', `or dword ptr [0x12008], 0x2000; ${flush}; mov ebx, [0x200000]`);
  add(mode, 'directory not present', `mov dword ptr [0x12008], 0; ${flush}; mov ebx, [0x200000]`);
  add(mode, 'directory read-only', `and dword ptr [0x12008], 0xfffffffd; ${flush}; mov dword ptr [0x200000], 1`);
}

// ---- Long mode ------------------------------------------------------------------------------------------------------
add('long', 'interrupt', 'int 0x20');
add('long', 'interrupt from user mode', 'USER64 1f, 0x246\n1: int 0x30');
add('long', 'interrupt on an IST stack', 'mov byte ptr [0x2204], 1; int 0x20');
add('long', 'interrupt on a misaligned stack', 'mov rsp, 0x4ff5; int 0x20');
add(
  'long',
  'IRET to compatibility mode',
  'push 0x23; push 0x6000; push 2; push 0x1b; push offset 1f; iretq\n.code32\n1: mov ax, cs; mov ebx, esp; push 0x1234; int 0x30\n.code64\n',
);
add(
  'long',
  'IRET with a null SS to privilege 0',
  'push 0; push 0x4f00; push 2; push 0x30; push offset 1f; iretq\n1: mov eax, ss',
);
add('long', 'IRET with a null SS to privilege 3', 'push 0; push 0x4f00; push 2; push 0x2b; push offset 1f; iretq\n1:');
add('long', 'IRET with L and D', 'push 0x10; push 0x4f00; push 2; push 0xe0; push offset 1f; iretq\n1:');
add(
  'long',
  'IRET to a non-canonical address',
  'push 0x10; push 0x4f00; push 2; push 0x30; mov rax, 0x800000000000; push rax; iretq',
);
add(
  'long',
  'IRET of 32 bits',
  'sub rsp, 12; mov dword ptr [rsp], offset 1f; mov dword ptr [rsp + 4], 0x30; mov dword ptr [rsp + 8], 2; mov dword ptr [rsp + 12], 0x4f00; mov dword ptr [rsp + 16], 0x10; iretd\n1: mov rbx, rsp',
);
add('long', 'IRET with NT', 'push 0x4002; popfq; iretq');
add(
  'long',
  'IRET with VM in the frame',
  'push 0x10; push 0x4f00; push 0x20002; push 0x30; push offset 1f; iretq\n1: pushfq; pop rbx',
);
add(
  'long',
  'SYSCALL and SYSRET',
  'mov ecx, 0xc0000081; xor eax, eax; mov edx, 0x001b0030; wrmsr; inc ecx; mov eax, offset 2f; xor edx, edx; wrmsr; mov ecx, 0xc0000084; mov eax, 0x200; wrmsr; USER64 1f, 0x246\n1: syscall; jmp 3f\n2: mov r8, cs; mov r9, ss; pushfq; pop r10; sysretq\n3: mov eax, cs; mov ebx, ss; pushfq; pop rsi',
);
add(
  'long',
  'SYSRET to compatibility mode',
  'mov ecx, 0xc0000081; mov edx, 0x001b0030; wrmsr; mov rcx, offset 1f; mov r11, 2; sysretd\n.code32\n1: mov ax, cs; mov bx, ss; int 0x30\n.code64\n',
);
add('long', 'SYSCALL without SCE', 'mov ecx, 0xc0000080; rdmsr; and al, 0xfe; wrmsr; syscall');
add(
  'long',
  'SWAPGS',
  'mov ecx, 0xc0000102; mov eax, 0x8000; xor edx, edx; wrmsr; swapgs; mov rax, gs:[0x10]; mov ecx, 0xc0000101; rdmsr',
);
add('long', 'SWAPGS at privilege 3', 'USER64 1f\n1: swapgs');
add('long', 'RDFSBASE without FSGSBASE', '.byte 0xf3, 0x48, 0x0f, 0xae, 0xc0');
add(
  'long',
  'WRFSBASE, RDGSBASE',
  'mov rax, cr4; or eax, 0x10000; mov cr4, rax; mov eax, 0x8000; .byte 0xf3, 0x48, 0x0f, 0xae, 0xd0; mov rbx, fs:[8]; .byte 0xf3, 0x48, 0x0f, 0xae, 0xc9',
);
add(
  'long',
  'WRFSBASE of a non-canonical address',
  'mov rax, cr4; or eax, 0x10000; mov cr4, rax; mov rax, 0x800000000000; .byte 0xf3, 0x48, 0x0f, 0xae, 0xd0',
);
add('long', 'WRMSR of a non-canonical base', 'mov ecx, 0xc0000100; xor eax, eax; mov edx, 0x8000; wrmsr');
add('long', 'non-canonical read', 'mov rax, 0x800000000000; mov rbx, [rax]');
add('long', 'non-canonical stack', 'mov rsp, 0x800000000008; push rax');
add('long', 'non-canonical jump', 'mov rax, 0x800000000000; jmp rax');
add('long', 'non-canonical return', 'mov rax, 0x800000000000; push rax; ret');
for (const instruction of [
  '.byte 0x06',
  '.byte 0x27',
  '.byte 0x60',
  '.byte 0x62, 0x00',
  '.byte 0x9a',
  '.byte 0xce',
  '.byte 0xd4, 0x0a',
  '.byte 0xea',
  '.byte 0x82, 0xc0, 0x01',
  '.byte 0xd6',
])
  add('long', `${instruction} does not exist`, instruction);
add(
  'long',
  'far JMP to compatibility mode',
  'mov dword ptr [0x8000], offset 1f; mov word ptr [0x8004], 8; .byte 0xff, 0x2c, 0x25; .long 0x8000\n.code32\n1: mov ax, cs; int 0x3f\n.code64\n',
);
add(
  'long',
  'far CALL and RETF',
  'mov dword ptr [0x8000], offset 1f; mov word ptr [0x8004], 0x30; .byte 0xff, 0x1c, 0x25; .long 0x8000; jmp 2f\n1: mov rbx, rsp; retf\n2:',
);
add(
  'long',
  'far JMP to code with L and D',
  'mov dword ptr [0x8000], offset 1f; mov word ptr [0x8004], 0xe0; .byte 0xff, 0x2c, 0x25; .long 0x8000\n1:',
);
add(
  'long',
  'call gate',
  'mov eax, offset 1f; mov [0x1088], ax; mov word ptr [0x108a], 0x30; mov word ptr [0x108c], 0xec00; shr eax, 16; mov [0x108e], eax; mov dword ptr [0x1094], 0; mov word ptr [0x8004], 0x88; .byte 0xff, 0x1c, 0x25; .long 0x8000\n1: mov rbx, [rsp]',
);
add(
  'long',
  'call gate from user mode',
  'mov eax, offset 2f; mov [0x1088], ax; mov word ptr [0x108a], 0x30; mov word ptr [0x108c], 0xec00; shr eax, 16; mov [0x108e], eax; mov dword ptr [0x1094], 0; mov word ptr [0x8004], 0x8b; USER64 1f\n1: .byte 0xff, 0x1c, 0x25; .long 0x8000\n2: mov rbx, rsp; mov eax, ss',
);
add(
  'long',
  'call gate to 32-bit code',
  'mov dword ptr [0x1088], 0x00080000; mov dword ptr [0x108c], 0xec00; mov word ptr [0x8004], 0x88; .byte 0xff, 0x1c, 0x25; .long 0x8000',
);
add('long', 'task gates do not exist', 'mov word ptr [0x8004], 0xa8; .byte 0xff, 0x2c, 0x25; .long 0x8000');
add('long', 'MOV SS of null', 'xor eax, eax; mov ss, eax; push rax; pop rbx');
add('long', 'MOV DS of null, then used', 'xor eax, eax; mov ds, eax; mov ebx, [0x8000]');
add('long', 'LTR of a busy TSS', 'mov eax, 0x40; ltr ax');
add('long', 'LTR whose upper half is a descriptor', 'mov dword ptr [0x1084], 0x00009200; mov eax, 0x78; ltr ax');
add('long', 'LLDT', 'mov eax, 0x68; lldt ax; sldt ebx');
add('long', 'CR0 above 32 bits', 'mov rax, cr0; bts rax, 40; mov cr0, rax');
add('long', 'CR8', 'mov rax, 5; mov cr8, rax; mov rbx, cr8');
add('long', 'CR8 above 15', 'mov rax, 16; mov cr8, rax');
add('long', 'DR7 above 32 bits', 'mov rax, 0x100000400; mov dr7, rax');
add('long', 'WRMSR of EFER, reserved bit', 'mov ecx, 0xc0000080; rdmsr; or eax, 0x200; wrmsr');
add('long', 'clearing LME with PG', 'mov ecx, 0xc0000080; rdmsr; and eax, 0xfffffeff; wrmsr');
add('long', 'double fault', 'mov word ptr [0x20d2], 0x10; mov rax, 0x800000000000; mov rbx, [rax]');
add(
  'long',
  'triple fault',
  'mov word ptr [0x20d2], 0x10; mov word ptr [0x2082], 0x10; mov rax, 0x800000000000; mov rbx, [rax]',
);
add(
  'long',
  'page fault in the delivery of a page fault',
  'mov dword ptr [0x13100], 0; mov rax, cr3; mov cr3, rax; mov rsp, 0x20800; mov rbx, [0x20000]',
);
add('long', 'gate of privilege 0 from user mode', 'USER64 1f\n1: int 0x20');
add('long', 'gate not present', 'and byte ptr [0x2205], 0x7f; int 0x20');
add('long', 'gate to 32-bit code', 'mov word ptr [0x2202], 8; int 0x20');
add('long', 'gate of 16 bits', 'mov byte ptr [0x2205], 0x86; int 0x20');
add('long', 'RSP0 not canonical', 'mov dword ptr [0x1408], 0x8000; USER64 1f\n1: int 0x30');
add('long', '1 GiB page', 'mov rbx, 0x40000000; mov eax, [rbx + 0x8000]; and eax, 0');
add('long', 'CMPXCHG16B, misaligned', 'xor eax, eax; xor edx, edx; cmpxchg16b [0x8008]');
add(
  'long',
  'CMPXCHG16B',
  'xor eax, eax; xor edx, edx; mov ebx, 1; xor ecx, ecx; mov qword ptr [0x8010], 0; mov qword ptr [0x8018], 0; cmpxchg16b [0x8010]',
);
add('long', 'MOVAPS, misaligned', 'movaps xmm0, [0x8008]');
add('long', 'SSE with TS', 'mov rax, cr0; or eax, 8; mov cr0, rax; movaps xmm0, xmm1');
add('long', 'SSE without OSFXSR', 'mov rax, cr4; and eax, 0xfffffdff; mov cr4, rax; movaps xmm0, xmm1');
add(
  'long',
  'single step over SYSCALL',
  'mov ecx, 0xc0000082; mov eax, offset 1f; xor edx, edx; wrmsr; pushfq; or dword ptr [rsp], 0x100; popfq; syscall\n1: nop; nop',
);
add(
  'long',
  'breakpoint on 8 bytes',
  'mov eax, 0x8010; mov dr0, rax; mov eax, 0x90702; mov dr7, rax; mov byte ptr [0x8016], 5; mov ebx, 9',
);
add('long', 'REP with a 32-bit count', 'mov rcx, 0x100000002; mov edi, 0x8000; xor eax, eax; .byte 0x67, 0xf3, 0xaa');
add(
  'long',
  'self-modifying code',
  'mov esi, offset 2f; mov edi, 0x9000; mov ecx, 16; rep movsb; mov ebx, 0; mov eax, 0x9000; call rax; mov byte ptr [0x9001], 0xcb; call rax; jmp 3f\n2: .byte 0xff, 0xc3; ret\n3:'.replace(
    '0xcb',
    '0xc1',
  ),
);
for (const instruction of [
  'hlt',
  'cli',
  'mov rax, cr0',
  'mov rax, cr8',
  'invlpg [rax]',
  'rdmsr',
  'wbinvd',
  'lgdt [rax]',
  'ltr ax',
  'sysretq',
])
  add('long', `${instruction} at privilege 3`, `USER64 1f\n1: ${instruction}`);

export const systemCases: readonly SystemCase[] = all;
