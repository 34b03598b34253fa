// The instructions with a memory operand that the assists carry out, for tests that run them with random operands.

/** One encoding: `[prefix] opcode /r [immediate]`. */
export interface Form {
  readonly name: string;
  /** Bytes of the opcode, with a mandatory prefix in front. */
  readonly opcode: readonly number[];
  /** ModRM.reg, where it extends the opcode. */
  readonly ext?: number;
  /** Bytes of the memory operand: 'v' follows the operand size, 'y' is 4 or with REX.W 8, 'o' 8 or 16. */
  readonly size: number | 'v' | 'y' | 'o';
  readonly immediate?: 'b' | 'z';
  /** Only in 64-bit code; only outside it. */
  readonly only64?: boolean;
  readonly not64?: boolean;
  /** LOCK is allowed. */
  readonly lockable?: boolean;
  /** 66 means nothing there, or something else. */
  readonly no66?: boolean;
  /** F2 and F3 would make it another instruction. */
  readonly mandatory?: boolean;
  /** In 64-bit mode its operand has 8 bytes. */
  readonly default64?: boolean;
  /** It has no ModRM, but the offset itself. */
  readonly offset?: boolean;
  /** The bit number in a register moves the operand. */
  readonly bitString?: boolean;
}

const forms: Form[] = [];
type Options = Omit<Form, 'name' | 'opcode' | 'size'>;

function form(name: string, opcode: readonly number[], size: Form['size'], options: Options = {}): void {
  forms.push({ name, opcode, size, ...options });
}

/** The byte form and the wide one behind it. */
function pair(name: string, opcode: readonly number[], options: Options = {}): void {
  const { immediate, ...rest } = options;
  const last = opcode.at(-1)!;
  const wide = [...opcode.slice(0, -1), last + 1];
  form(`${name} b`, opcode, 1, immediate === undefined ? rest : { ...rest, immediate: 'b' });
  form(`${name} v`, wide, 'v', options);
}

['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP'].forEach((name, ext) => {
  const lockable = name !== 'CMP';
  pair(`${name} E,G`, [8 * ext], { lockable });
  pair(`${name} G,E`, [8 * ext + 2]);
  pair(`${name} E,I`, [0x80], { ext, immediate: 'z', lockable });
  form(`${name} Eb,Ib (82)`, [0x82], 1, { ext, immediate: 'b', not64: true, lockable });
  form(`${name} Ev,Ib`, [0x83], 'v', { ext, immediate: 'b', lockable });
});
pair('TEST E,G', [0x84]);
pair('TEST E,I', [0xf6], { ext: 0, immediate: 'z' });
pair('TEST E,I (/1)', [0xf6], { ext: 1, immediate: 'z' });
pair('NOT', [0xf6], { ext: 2, lockable: true });
pair('NEG', [0xf6], { ext: 3, lockable: true });
pair('INC', [0xfe], { ext: 0, lockable: true });
pair('DEC', [0xfe], { ext: 1, lockable: true });
pair('MOV E,G', [0x88]);
pair('MOV G,E', [0x8a]);
pair('MOV E,I', [0xc6], { ext: 0, immediate: 'z' });
form('MOVZX Gv,Eb', [0x0f, 0xb6], 1);
form('MOVZX Gv,Ew', [0x0f, 0xb7], 2);
form('MOVSX Gv,Eb', [0x0f, 0xbe], 1);
form('MOVSX Gv,Ew', [0x0f, 0xbf], 2);
form('MOVSXD', [0x63], 4, { only64: true });
form('MOVBE G,M', [0x0f, 0x38, 0xf0], 'v', { mandatory: true });
form('MOVBE M,G', [0x0f, 0x38, 0xf1], 'v', { mandatory: true });
form('MOVNTI', [0x0f, 0xc3], 'y', { no66: true, mandatory: true });
pair('XCHG', [0x86], { lockable: true });
pair('XADD', [0x0f, 0xc0], { lockable: true });
pair('CMPXCHG', [0x0f, 0xb0], { lockable: true });
form('CMPXCHG8B', [0x0f, 0xc7], 'o', { ext: 1, lockable: true });
['BT', 'BTS', 'BTR', 'BTC'].forEach((name, i) => {
  const lockable = name !== 'BT';
  form(`${name} E,G`, [0x0f, 0xa3 + 8 * i], 'v', { bitString: true, lockable });
  form(`${name} E,I`, [0x0f, 0xba], 'v', { ext: 4 + i, immediate: 'b', lockable });
});
form('PUSH', [0xff], 'v', { ext: 6, default64: true });
form('POP', [0x8f], 'v', { ext: 0, default64: true });

// SSE moves: name, mandatory prefix, opcode, size.
for (const [name, prefix, opcode, size] of [
  ['MOVUPS load', 0, 0x10, 16],
  ['MOVUPS store', 0, 0x11, 16],
  ['MOVUPD load', 0x66, 0x10, 16],
  ['MOVUPD store', 0x66, 0x11, 16],
  ['MOVSS load', 0xf3, 0x10, 4],
  ['MOVSS store', 0xf3, 0x11, 4],
  ['MOVSD load', 0xf2, 0x10, 8],
  ['MOVSD store', 0xf2, 0x11, 8],
  ['MOVLPS load', 0, 0x12, 8],
  ['MOVLPS store', 0, 0x13, 8],
  ['MOVHPS load', 0, 0x16, 8],
  ['MOVHPS store', 0, 0x17, 8],
  ['MOVLPD load', 0x66, 0x12, 8],
  ['MOVHPD store', 0x66, 0x17, 8],
  ['MOVAPS load', 0, 0x28, 16],
  ['MOVAPS store', 0, 0x29, 16],
  ['MOVAPD load', 0x66, 0x28, 16],
  ['MOVNTPS', 0, 0x2b, 16],
  ['MOVNTPD', 0x66, 0x2b, 16],
  ['MOVDQA load', 0x66, 0x6f, 16],
  ['MOVDQA store', 0x66, 0x7f, 16],
  ['MOVDQU load', 0xf3, 0x6f, 16],
  ['MOVDQU store', 0xf3, 0x7f, 16],
  ['MOVNTDQ', 0x66, 0xe7, 16],
  ['MOVQ load', 0xf3, 0x7e, 8],
  ['MOVQ store', 0x66, 0xd6, 8],
  ['MOVD load', 0x66, 0x6e, 'y'],
  ['MOVD store', 0x66, 0x7e, 'y'],
  ['MOVLPD store', 0x66, 0x13, 8],
  ['MOVHPD load', 0x66, 0x16, 8],
  ['MOVAPD store', 0x66, 0x29, 16],
  ['LDDQU', 0xf2, 0xf0, 16],
] as const) {
  form(name, prefix === 0 ? [0x0f, opcode] : [prefix, 0x0f, opcode], size, { no66: true, mandatory: true });
}

form('MOVNTDQA', [0x66, 0x0f, 0x38, 0x2a], 16, { no66: true, mandatory: true });

// Absolute addresses.
pair('MOV A,O', [0xa0], { offset: true });
pair('MOV O,A', [0xa2], { offset: true });

export const FORMS: readonly Form[] = forms;
/** Those whose address must be a multiple of 16. */
export const isAligned = ({ name, size }: Form): boolean => /MOVAP|MOVNTP|MOVDQA|MOVNTDQ/.test(name) || size === 'o';
