import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { expect } from 'chai';
import { ExitReason, openNvmm } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { expectCode } from '../support/expect.js';
import { bytes, realMode } from '../support/guest.js';

/** What the channels say while `action` is carried out. */
async function heard(action: () => unknown): Promise<[name: string, message: unknown][]> {
  const messages: [string, unknown][] = [];
  const note = (message: unknown, name: string | symbol): number => messages.push([String(name), message]);
  const names = ['nvmm.request', 'nvmm.run', 'nvmm.exit'];
  for (const name of names) subscribe(name, note);
  try {
    await action();
  } finally {
    for (const name of names) unsubscribe(name, note);
  }
  return messages;
}

describe('diagnostics channels', () => {
  const nvmm = openNvmm({ device: createMock() });
  const machine = nvmm.createMachine();
  const { vcpu } = realMode(machine, bytes('f4 ebfd')); // hlt; jmp back
  after(() => {
    nvmm.close();
  });

  it('tell of requests, also of those that fail', async () => {
    const messages = await heard(() => {
      machine.allocate(4096).free();
      expectCode('EBUSY', () => machine.createVcpu(0));
    });
    expect(messages).to.deep.equal([
      ['nvmm.request', { operation: 'NVMM_IOC_HVA_MAP', error: undefined }],
      ['nvmm.request', { operation: 'NVMM_IOC_HVA_UNMAP', error: undefined }],
      ['nvmm.request', { operation: 'NVMM_IOC_VCPU_CREATE', error: 'EBUSY' }],
    ]);
  });

  it('tell of runs and exits of either kind', async () => {
    const who = { machine: machine.id, vcpu: 0 };
    const exit = ['nvmm.exit', { ...who, reason: ExitReason.HALTED, error: undefined }];
    expect(await heard(() => vcpu.run())).to.deep.equal([['nvmm.run', { ...who, asynchronous: false }], exit]);
    expect(await heard(() => vcpu.runAsync())).to.deep.equal([['nvmm.run', { ...who, asynchronous: true }], exit]);
  });

  it('tell of a run that fails', async () => {
    const other = machine.createVcpu(1);
    other.destroy();
    const messages = await heard(() => expectCode('ENOENT', () => other.run()));
    expect(messages.at(-1)).to.deep.equal([
      'nvmm.exit',
      { machine: machine.id, vcpu: 1, reason: undefined, error: 'ENOENT' },
    ]);
  });
});
