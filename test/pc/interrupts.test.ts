import { expect } from 'chai';
import type { VcpuEvent } from 'nvmm';
import { InterruptDelivery, type Interruptible } from '../../examples/pc/interrupts.js';

const IF = 0x200n;

/** What the driver and the guest would make of it. */
class FakeVcpu {
  readonly injected: VcpuEvent[] = [];
  readonly exitState = {
    valid: true,
    rflags: 2n,
    cr8: 0n,
    intShadow: false,
    intWindowExiting: false,
    nmiWindowExiting: false,
    evtPending: false,
  };
  readonly exit = { exitState: this.exitState };
  readonly state = {
    gprs32: new Uint32Array(36),
    crs: new BigUint64Array(6),
    intr: { intShadow: false, evtPending: false, intWindowExiting: false, nmiWindowExiting: false },
  };
  eventWaiting = false;
  committed = 0;

  getState(): void {
    // All of it is known.
  }
  setState(flags: number): void {
    this.committed |= flags;
  }
  inject(event: VcpuEvent): void {
    if (this.eventWaiting || this.exitState.evtPending) throw new Error('One event would be lost.');
    this.injected.push(event);
    this.eventWaiting = true;
  }

  /** The state after a run that entered the guest. */
  ran(changes: Partial<FakeVcpu['exitState']>): void {
    this.eventWaiting = false;
    Object.assign(this.exitState, { valid: true, intShadow: false, evtPending: false, ...changes });
  }

  get windowAsked(): boolean {
    return this.state.intr.intWindowExiting && (this.committed & 0x20) !== 0;
  }
}

class FakeApic {
  nmi = false;
  tpr = 0;
  readonly waiting: number[] = [];
  get pending(): boolean {
    return this.waiting.length > 0;
  }
  acknowledge(): number {
    return this.waiting.shift()!;
  }
}

function setup(): { vcpu: FakeVcpu; pic: FakeApic; delivery: InterruptDelivery } {
  const vcpu = new FakeVcpu();
  const pic = new FakeApic();
  return { vcpu, pic, delivery: new InterruptDelivery(vcpu as unknown as Interruptible, pic) };
}

describe('pc: interrupt delivery', () => {
  it('does nothing while nothing is pending', () => {
    const { vcpu, delivery } = setup();
    delivery.beforeRun();
    expect([vcpu.injected.length, vcpu.committed]).to.deep.equal([0, 0]);
  });

  it('injects when the guest can take it', () => {
    const { vcpu, pic, delivery } = setup();
    vcpu.ran({ rflags: 2n | IF });
    pic.waiting.push(0x30);
    delivery.beforeRun();
    expect(vcpu.injected).to.deep.equal([{ type: 'INTR', vector: 0x30 }]);
    expect(vcpu.windowAsked).to.equal(false);
  });

  it('asks for the window with interrupts disabled, in a shadow, or while an event is delivered again', () => {
    for (const state of [{ rflags: 2n }, { rflags: 2n | IF, intShadow: true }, { rflags: 2n | IF, evtPending: true }]) {
      const { vcpu, pic, delivery } = setup();
      vcpu.ran(state);
      pic.waiting.push(0x30);
      delivery.beforeRun();
      expect(vcpu.injected).to.deep.equal([]);
      expect(vcpu.windowAsked).to.equal(true);
      expect(pic.pending, 'not acknowledged').to.equal(true);
    }
  });

  it('asks once', () => {
    const { vcpu, pic, delivery } = setup();
    vcpu.ran({ intWindowExiting: true });
    pic.waiting.push(0x30);
    delivery.beforeRun();
    expect(vcpu.committed).to.equal(0);
  });

  it('uses a window that opened without being told: the state says it', () => {
    const { vcpu, pic, delivery } = setup();
    pic.waiting.push(0x30);
    delivery.beforeRun();
    vcpu.ran({ rflags: 2n | IF, intWindowExiting: false });
    delivery.beforeRun();
    expect(vcpu.injected).to.have.length(1);
  });

  it('waits with the second of two', () => {
    const { vcpu, pic, delivery } = setup();
    vcpu.ran({ rflags: 2n | IF });
    pic.waiting.push(0x30, 0x31);
    delivery.beforeRun();
    expect(vcpu.injected).to.have.length(1);
    expect(vcpu.windowAsked).to.equal(true);
  });

  it('keeps its hands off an event that waits: a run that never began has not taken it', () => {
    const { vcpu, pic, delivery } = setup();
    vcpu.ran({ rflags: 2n | IF });
    pic.waiting.push(0x30, 0x31);
    delivery.beforeRun();
    vcpu.exitState.valid = false;
    vcpu.state.gprs32[34] = Number(IF);
    delivery.beforeRun();
    expect(vcpu.injected).to.have.length(1);
    expect(pic.waiting).to.deep.equal([0x31]);
  });

  it('remembers a shadow and an event to be delivered again over a run that never began', () => {
    for (const what of ['intShadow', 'evtPending'] as const) {
      const { vcpu, pic, delivery } = setup();
      vcpu.exitState.valid = false;
      vcpu.state.gprs32[34] = Number(IF);
      vcpu.state.intr[what] = true;
      pic.waiting.push(0x30);
      delivery.beforeRun();
      expect([vcpu.injected.length, vcpu.windowAsked], what).to.deep.equal([0, true]);
    }
  });

  it('looks at the registers before the first run', () => {
    const { vcpu, pic, delivery } = setup();
    vcpu.exitState.valid = false;
    pic.waiting.push(0x30);
    vcpu.state.gprs32[34] = Number(IF);
    expect(delivery.enabled).to.equal(true);
    delivery.beforeRun();
    expect(vcpu.injected).to.have.length(1);
  });

  it('injects an NMI whatever IF says, but not while one is being served', () => {
    const { vcpu, pic, delivery } = setup();
    vcpu.ran({ rflags: 2n });
    pic.nmi = true;
    delivery.beforeRun();
    expect(vcpu.injected).to.deep.equal([{ type: 'INTR', vector: 2 }]);
    expect(pic.nmi).to.equal(false);
    vcpu.ran({ rflags: 2n, nmiWindowExiting: true });
    pic.nmi = true;
    delivery.beforeRun();
    expect([vcpu.injected.length, pic.nmi, delivery.wakes]).to.deep.equal([1, true, true]);
    vcpu.ran({ nmiWindowExiting: false });
    delivery.beforeRun();
    expect(vcpu.injected).to.have.length(2);
  });

  it('keeps CR8 and the task priority the same, whoever writes', () => {
    const { vcpu, pic, delivery } = setup();
    vcpu.ran({ cr8: 5n });
    delivery.afterRun();
    expect(pic.tpr).to.equal(0x50);
    delivery.beforeRun();
    expect(vcpu.committed, 'nothing to do').to.equal(0);
    pic.tpr = 0x2f;
    delivery.beforeRun();
    expect([vcpu.state.crs[4], vcpu.committed]).to.deep.equal([2n, 4]);
    vcpu.exitState.valid = false; // a run that did not begin: it is still to be applied
    delivery.afterRun();
    expect(pic.tpr).to.equal(0x2f);
  });
});
