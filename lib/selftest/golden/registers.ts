// The registers of a comm page: their names in the scenarios, and where they are.
import { constants, fieldOf, fieldsOf, getField, indexed, setField, sizeOf, type Field } from './abi.js';
import type { Numeric, Pieces } from './types.js';

const page = 'nvmm_comm_page_v2';
const state = 'nvmm_x64_state';

export const pageSize = 4096;
/** The part of the page that means something. */
export const usedSize = sizeOf(page);

export interface Register {
  field: Field;
  /** The bit of the piece of the state that it belongs to; null for the event, which is always valid. */
  piece: bigint | null;
  /** Whether a change that the scenario does not name is a difference. */
  compared: boolean;
}

const notCompared = new Set(['TSC', 'fx_zero', 'fx_opcode', 'fx_ip', 'fx_dp', 'fx_mxcsr_mask']);

const pieces = constants('state_flags', 'NVMM_X64_STATE_');

export const registers: ReadonlyMap<string, Register> = new Map(allRegisters());

function* allRegisters(): Generator<[string, Register]> {
  const base = fieldOf(page, 'state').offset;
  const register = (piece: string | null, name: string, field: Field, offset: number): [string, Register] => [
    name,
    {
      field: { ...field, offset: field.offset + offset },
      piece: piece === null ? null : (pieces.get(piece) ?? 0n),
      compared: !notCompared.has(name),
    },
  ];
  const u64 = { offset: 0, size: 8, shift: 0, width: 64, signed: false };

  const segs = base + fieldOf(state, 'segs').offset;
  for (const [i, segment] of indexed('segment_indices', 'NVMM_X64_SEG_').entries()) {
    for (const part of ['selector', 'attrib', 'limit', 'base']) {
      const field = fieldOf('nvmm_x64_state_seg', part);
      yield register('SEGS', `${segment}.${part}`, field, segs + i * sizeOf('nvmm_x64_state_seg'));
    }
  }
  for (const kind of ['gpr', 'cr', 'dr', 'msr']) {
    const offset = base + fieldOf(state, `${kind}s`).offset;
    for (const [i, name] of indexed(`${kind}_indices`, `NVMM_X64_${kind.toUpperCase()}_`).entries()) {
      yield register(`${kind.toUpperCase()}S`, name, u64, offset + i * 8);
    }
  }
  for (const [name, field] of fieldsOf('nvmm_x64_state_intr')) {
    yield register('INTR', `INTR.${name}`, field, base + fieldOf(state, 'intr').offset);
  }
  const fpu = base + fieldOf(state, 'fpu').offset;
  for (const name of ['cw', 'sw', 'tw', 'zero', 'opcode', 'ip', 'dp', 'mxcsr', 'mxcsr_mask'].map(
    (part) => `fx_${part}`,
  )) {
    yield register('FPU', name, fieldOf('fxsave', name), fpu);
  }
  for (let i = 0; i < 8; i++) {
    const offset = fpu + fieldOf('fxsave', 'fx_87_ac').offset + i * sizeOf('fpaccfx');
    yield register('FPU', `ST${i}.mantissa`, fieldOf('fpacc87', 'f87_mantissa'), offset);
    yield register('FPU', `ST${i}.exponent`, fieldOf('fpacc87', 'f87_exp_sign'), offset);
  }
  for (let i = 0; i < 16; i++) {
    const offset = fpu + fieldOf('fxsave', 'fx_xmm').offset + i * sizeOf('xmmreg');
    yield register('FPU', `XMM${i}.lo`, u64, offset);
    yield register('FPU', `XMM${i}.hi`, u64, offset + 8);
  }
  for (const [name, field] of [
    ['type', 'type'],
    ['vector', 'vector'],
    ['error', 'u.excp.error'],
  ] as const) {
    yield register(null, `event.${name}`, fieldOf('nvmm_x86_event', field), fieldOf(page, 'event').offset);
  }
}

export function registerNamed(name: string): Register {
  const register = registers.get(name);
  if (!register) throw new Error(`No register is named ${name}.`);
  return register;
}

export const headerFields = ['state_wanted', 'state_cached', 'state_commit', 'event_commit', 'stop'] as const;
export type HeaderField = (typeof headerFields)[number];

// event_commit is a bool for the kernel, but any byte for those who write it.
const header = new Map<HeaderField, Field>(headerFields.map((name) => [name, fieldOf(page, name)]));

function headerField(name: HeaderField): Field {
  const field = header.get(name);
  if (!field) throw new Error(`A comm page has no field ${name}.`);
  return field;
}

export const getHeader = (bytes: Uint8Array, name: HeaderField): bigint => getField(bytes, headerField(name));
export function setHeader(bytes: Uint8Array, name: HeaderField, value: bigint): void {
  setField(bytes, headerField(name), value);
}

export const stopOffset = BigInt(headerField('stop').offset);

/** A set of pieces: a number, a name (GPRS, ALL), or a list of names and masks. */
export function piecesOf(set: Pieces): bigint {
  const one = (item: Numeric) => pieces.get(String(item)) ?? BigInt(item);
  return (Array.isArray(set) ? set : [set]).reduce((sum, item) => sum | one(item), 0n);
}
