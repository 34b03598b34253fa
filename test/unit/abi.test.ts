// The interface that was compiled, and the offsets that lib reads by, against the recorded interface (lib/selftest/golden/abi.json).
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { errnoName, errnoNumber } from '../../lib/errno.js';
import { ExitReason } from '../../lib/exit.js';
import { nativeModule } from '../../lib/native.js';
import * as layout from '../../lib/x86/layout.js';
import * as registers from '../../lib/x86/registers.js';

interface Field {
  name: string;
  offset?: number;
  size?: number;
  bitfield?: boolean;
  bit_in_unit?: number;
  width?: number;
}
interface Fixture {
  structs: { name: string; size: number; align: number; fields: Field[] }[];
  ioctls: { name: string; request_dec: number }[];
  constants: Record<string, Record<string, string>>;
  errno_netbsd_all: Record<string, number>;
}

const fixture = JSON.parse(
  readFileSync(new URL('../../../lib/selftest/golden/abi.json', import.meta.url), 'utf8'),
) as Fixture;
const compiled = nativeModule().describeAbi();

// Named only for its size, in a table of CPUID.
const structs = fixture.structs.filter(({ name }) => name !== 'save87');

describe('the compiled interface', () => {
  it('has every struct with its size and alignment', () => {
    const expected = Object.fromEntries(structs.map(({ name, size, align }) => [name, { size, align }]));
    expect(compiled.structs).to.deep.equal(expected);
  });

  it('has every field at its offset', () => {
    const fields = structs.flatMap((struct) =>
      struct.fields
        .filter((field) => !field.bitfield)
        .map(({ name, offset, size }) => [`${struct.name}.${name}`, { offset, size }] as const),
    );
    expect(fields).to.not.be.empty;
    expect(compiled.fields).to.deep.equal(Object.fromEntries(fields));
  });

  it('has every bit-field in its place', () => {
    const masks = structs.flatMap((struct) =>
      struct.fields
        .filter((field) => field.bitfield)
        .map(({ name, bit_in_unit, width }) => {
          return [`${struct.name}.${name}`, ((1n << BigInt(width!)) - 1n) << BigInt(bit_in_unit!)] as const;
        }),
    );
    expect(masks).to.not.be.empty;
    expect(compiled.masks).to.deep.equal(Object.fromEntries(masks));
  });

  it('has every request', () => {
    const expected = Object.fromEntries(fixture.ioctls.map(({ name, request_dec }) => [name, request_dec]));
    expect(compiled.ioctls).to.deep.equal(expected);
  });
});

describe('the offsets of lib', () => {
  const offsetOf = (struct: string, field: string): number => {
    const found = fixture.structs.find(({ name }) => name === struct)?.fields.find(({ name }) => name === field);
    if (found?.offset === undefined) throw new Error(`the fixture has no ${struct}.${field}`);
    return found.offset;
  };
  const sizeOf = (struct: string): number => fixture.structs.find(({ name }) => name === struct)!.size;

  const tables: [keyof typeof layout, string, (field: string) => string][] = [
    ['COMM', 'nvmm_comm_page_v2', (field) => field],
    ['STATE', 'nvmm_x64_state', (field) => field],
    ['FPU', 'fxsave', (field) => field],
    ['EVENT', 'nvmm_x86_event', (field) => (field === 'error' ? 'u.excp.error' : field)],
    ['CAPABILITY', 'nvmm_capability', (field) => (/_(support|mask|maxops)$/.test(field) ? `arch.${field}` : field)],
    ['MACH_INFO', 'nvmm_ctl_mach_info', (field) => field],
  ];
  for (const [name, struct, path] of tables) {
    it(`${name} are those of ${struct}`, () => {
      for (const [field, offset] of Object.entries(layout[name])) {
        expect(offset, field).to.equal(offsetOf(struct, path(field)));
      }
    });
  }

  it('SEG and CONF_CPUID hold their bit-fields too', () => {
    expect(layout.SEG).to.deep.equal({
      selector: offsetOf('nvmm_x64_state_seg', 'selector'),
      attrib: offsetOf('nvmm_x64_state_seg', 'attrib'),
      limit: offsetOf('nvmm_x64_state_seg', 'limit'),
      base: offsetOf('nvmm_x64_state_seg', 'base'),
    });
    expect(layout.CONF_CPUID).to.deep.equal({
      bits: 0,
      leaf: offsetOf('nvmm_vcpu_conf_cpuid', 'leaf'),
      set: offsetOf('nvmm_vcpu_conf_cpuid', 'u.mask.set'),
      del: offsetOf('nvmm_vcpu_conf_cpuid', 'u.mask.del'),
    });
  });

  it('the parts of an exit lie where their structs put them', () => {
    const u = offsetOf('nvmm_x86_exit', 'u');
    const parts: [Record<string, number>, string][] = [
      [layout.EXIT_MEM, 'nvmm_x86_exit_memory'],
      [layout.EXIT_IO, 'nvmm_x86_exit_io'],
      [layout.EXIT_RDMSR, 'nvmm_x86_exit_rdmsr'],
      [layout.EXIT_WRMSR, 'nvmm_x86_exit_wrmsr'],
      [layout.EXIT_INSN, 'nvmm_x86_exit_insn'],
      [layout.EXIT_INV, 'nvmm_x86_exit_invalid'],
    ];
    for (const [part, struct] of parts) {
      for (const [field, offset] of Object.entries(part)) {
        expect(offset, `${struct}.${field}`).to.equal(u + offsetOf(struct, field));
      }
    }
    expect(layout.EXIT.reason).to.equal(offsetOf('nvmm_x86_exit', 'reason'));
    expect(layout.EXIT.rflags).to.equal(offsetOf('nvmm_x86_exit', 'exitstate.rflags'));
    expect(layout.EXIT.cr8).to.equal(offsetOf('nvmm_x86_exit', 'exitstate.cr8'));
  });

  it('sizes are the structs’', () => {
    expect(layout.STATE_SIZE).to.equal(sizeOf('nvmm_x64_state'));
    expect(layout.SEG_SIZE).to.equal(sizeOf('nvmm_x64_state_seg'));
    expect(layout.FPU_SIZE).to.equal(sizeOf('fxsave'));
    expect(layout.CAPABILITY_SIZE).to.equal(sizeOf('nvmm_capability'));
    expect(layout.MACH_INFO_SIZE).to.equal(sizeOf('nvmm_ctl_mach_info'));
    expect(layout.CONF_CPUID_SIZE).to.equal(sizeOf('nvmm_vcpu_conf_cpuid'));
    expect(layout.CONF_TPR_SIZE).to.equal(sizeOf('nvmm_vcpu_conf_tpr'));
  });
});

describe('the constants of lib', () => {
  const constants = (group: string, prefix: string): Record<string, number> =>
    Object.fromEntries(
      Object.entries(fixture.constants[group]!)
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, value]) => [name.slice(prefix.length), Number(BigInt.asIntN(32, BigInt(value)))]),
    );

  it('exit reasons are the kernel’s, as signed low halves', () => {
    expect(ExitReason).to.deep.equal(constants('exit_reasons', 'NVMM_VCPU_EXIT_'));
  });

  const sets: [keyof typeof registers, string, string][] = [
    ['StateFlag', 'state_flags', 'NVMM_X64_STATE_'],
    ['Seg', 'segment_indices', 'NVMM_X64_SEG_'],
    ['Gpr', 'gpr_indices', 'NVMM_X64_GPR_'],
    ['Cr', 'cr_indices', 'NVMM_X64_CR_'],
    ['Dr', 'dr_indices', 'NVMM_X64_DR_'],
    ['Msr', 'msr_indices', 'NVMM_X64_MSR_'],
  ];
  for (const [name, group, prefix] of sets) {
    it(`${name} are NVMM_X64_*`, () => {
      expect(registers[name]).to.deep.equal(constants(group, prefix));
    });
  }

  it('errno names and numbers are NetBSD’s', () => {
    for (const [name, number] of Object.entries(fixture.errno_netbsd_all)) {
      expect(errnoNumber(errnoName(number))).to.equal(number);
      if (name !== 'EWOULDBLOCK') expect(errnoName(number)).to.equal(name);
    }
    expect(errnoName(4711)).to.equal('E4711');
  });
});
