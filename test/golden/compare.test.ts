import { expect } from 'chai';

import { instructionMatches, matches, show } from '../../lib/selftest/golden/compare.js';
import { onIntel } from '../../lib/selftest/golden/intel.js';
import {
  getHeader,
  piecesOf,
  registerNamed,
  registers,
  setHeader,
  usedSize,
} from '../../lib/selftest/golden/registers.js';
import type { Expected, Scenario } from '../../lib/selftest/golden/types.js';

describe('comparison with a recording', () => {
  const rows: [Expected, bigint | string | boolean | undefined, boolean][] = [
    [0, 0n, true],
    [0, 'EINVAL', false],
    ['EINVAL', 'EINVAL', true],
    ['EINVAL', 'EPERM', false],
    ['EINVAL', 0n, false],
    ['0x10', 16n, true],
    ['16', 16n, true],
    [16, 16n, true],
    ['0xffffffffffffffff', 0xffffffffffffffffn, true],
    [-1, -1n, true],
    ['0x10', undefined, false],
    [true, true, true],
    [true, false, false],
    ['*', 5n, true],
    ['*', undefined, true],
    ['0x1?0', 0x1f0n, true],
    ['0x1?0', 0x2f0n, false],
    ['0x1?0', 0x11f0n, false],
    ['0?02', '0f02', true],
    ['0?02', '1f02', false],
    ['0?02', '0f0200', false],
    ['00ff', '00FF', true],
    [{ oneOf: ['0x1', 2] }, 2n, true],
    [{ oneOf: ['0x1', 2] }, 3n, false],
    [{ oneOf: ['READ', 'WRITE'] }, 'WRITE', true],
    [{ mask: '0xf0', is: '0x10' }, 0x1fn, true],
    [{ mask: '0xf0', is: '0x10' }, 0x2fn, false],
    [{ max: '0x10' }, 16n, true],
    [{ max: '0x10' }, 17n, false],
    [{ min: 3, max: 4 }, 2n, false],
    [{ nonzero: true }, 1n, true],
    [{ nonzero: true }, 0n, false],
  ];
  for (const [expected, actual, answer] of rows) {
    it(`${show(expected)} ${answer ? 'accepts' : 'refuses'} ${show(actual)}`, () => {
      expect(matches(expected, actual)).to.equal(answer);
    });
  }

  it('accepts more instruction bytes than recorded, or none, but no others', () => {
    const bytes = '8b0342'.padEnd(30, '0');
    expect(instructionMatches('8b03', 3n, bytes)).to.equal(true);
    expect(instructionMatches('8b03', 0n, bytes)).to.equal(true);
    expect(instructionMatches('8b03', 1n, bytes)).to.equal(false);
    expect(instructionMatches('8b04', 3n, bytes)).to.equal(false);
    expect(instructionMatches('*', 3n, bytes)).to.equal(true);
  });
});

describe('the rules for Intel', () => {
  const adapt = (expectation: object, prefill?: string) => {
    const step = { op: 'run', ...(prefill && { prefill }), expect: { ret: 0, ...expectation } };
    const scenario = { name: 'a', rule: '', steps: [step] } as Scenario;
    return onIntel('run', scenario, undefined).steps[0]?.expect;
  };

  it('never compares the segment and the address size of IN and OUT', () => {
    const exit = { reason: 'IO', str: 0, seg: 3, address_size: 4, port: 1 };
    const adapted = adapt({ exit, raw: '00'.repeat(64) });
    expect(adapted?.exit).to.deep.equal({ ...exit, seg: '*', address_size: '*' });
    expect(adapted?.['raw']).to.equal(`${'00'.repeat(12)}????${'00'.repeat(50)}`);
  });

  it('compares them for string instructions', () => {
    const exit = { reason: 'IO', str: 1, seg: 3, address_size: 4 };
    expect(adapt({ exit })?.exit).to.deep.equal(exit);
  });

  it('wants no instruction bytes in MEMORY exits, and the old contents in their place', () => {
    const exit = { reason: 'MEMORY', gpa: 1, inst: '8b03' };
    expect(adapt({ exit }, '0xee')?.exit).to.deep.equal({
      reason: 'MEMORY',
      gpa: 1,
      inst: '*',
      inst_len: 0,
      inst_bytes: 'ee'.repeat(15),
    });
  });

  it('compares no flags of SHUTDOWN', () => {
    const adapted = adapt({ exit: { reason: 'SHUTDOWN' }, exitstate: { rflags: 2, cr8: 1 } });
    expect(adapted?.exitstate).to.deep.equal({ rflags: '*', cr8: 1 });
  });
});

describe('registers of the comm page', () => {
  it('are where the kernel has them', () => {
    expect(registerNamed('ES.selector').field.offset).to.equal(32);
    expect(registerNamed('RAX').field.offset).to.equal(32 + 160);
    expect(registerNamed('XCR0').field.offset).to.equal(32 + 304 + 5 * 8);
    expect(registerNamed('TSC').field.offset).to.equal(32 + 400 + 10 * 8);
    expect(registerNamed('fx_mxcsr').field.offset).to.equal(32 + 496 + 24);
    expect(registerNamed('XMM15.hi').field.offset).to.equal(32 + 496 + 160 + 15 * 16 + 8);
    expect(registerNamed('event.error').field.offset).to.equal(1056);
    expect(registers.size).to.equal(10 * 4 + 18 + 6 + 6 + 11 + 5 + 9 + 16 + 32 + 3);
  });

  it('belong to the piece that state_cached names', () => {
    expect(registerNamed('CS.base').piece).to.equal(1n);
    expect(registerNamed('RIP').piece).to.equal(2n);
    expect(registerNamed('INTR.evt_pending').piece).to.equal(0x20n);
    expect(registerNamed('ST0.mantissa').piece).to.equal(0x40n);
    expect(registerNamed('event.type').piece).to.equal(null);
  });

  it('have a header before and behind them', () => {
    const bytes = new Uint8Array(usedSize);
    setHeader(bytes, 'stop', 1n);
    setHeader(bytes, 'event_commit', 128n);
    expect([bytes[1064], bytes[1040]]).to.deep.equal([1, 128]);
    expect(getHeader(bytes, 'event_commit')).to.equal(128n);
  });

  it('make sets of pieces by name and mask', () => {
    expect(piecesOf('ALL')).to.equal(0x7fn);
    expect(piecesOf(['GPRS', '0x200', 1])).to.equal(0x203n);
    expect(piecesOf(119)).to.equal(119n);
  });
});
