// Assists allocate nothing: shown by the heap's size before and after many of them.
import { getHeapStatistics } from 'node:v8';
import { expect } from 'chai';
import { ExitReason, Gpr } from 'nvmm';
import { AssistGuest, CODE, DATA, DEVICE, VENDORS } from '../support/assist.js';
import { bytes } from '../support/guest.js';

const CALLS = 30_000;

/** Bytes that each of many calls leaves behind: the least of several tries, as the compiler and the collector have their moments. */
function allocated(call: () => void): number {
  const repeat = (): void => {
    for (let i = 0; i < CALLS; i++) call();
  };
  for (let i = 0; i < 3; i++) repeat(); // until it is compiled
  const growth = Array.from({ length: 8 }, () => {
    const before = getHeapStatistics().used_heap_size;
    repeat();
    return Math.abs(getHeapStatistics().used_heap_size - before) / CALLS;
  });
  return Math.min(...growth);
}

for (const vendor of VENDORS) {
  describe(`an assist allocates nothing [${vendor}]`, () => {
    let guest: AssistGuest;
    beforeEach(() => {
      guest = new AssistGuest(vendor, 'long', true);
      guest.reset();
    });
    afterEach(() => {
      guest.close();
    });

    /** The assist of `code`, to be called again and again: the registers that it changes are put back. */
    function assistOf(code: string, rbx: number): () => void {
      guest.load(bytes(code));
      const { vcpu } = guest;
      const { gprs, gprs32 } = vcpu.state;
      gprs[Gpr.RBX] = BigInt(rbx);
      gprs[Gpr.RSI] = BigInt(DEVICE);
      gprs[Gpr.RDI] = BigInt(DATA);
      gprs[Gpr.RCX] = 1000n;
      gprs[Gpr.RAX] = 0xffff_ffff_ffff_fff0n; // beyond what a small integer holds
      const isIo = vcpu.run() === ExitReason.IO;
      return () => {
        if (isIo) vcpu.assistIo();
        else vcpu.assistMem();
        gprs32[2 * Gpr.RIP] = CODE;
        gprs32[2 * Gpr.RSI] = DEVICE;
        gprs32[2 * Gpr.RDI] = DATA;
        gprs32[2 * Gpr.RSP] = 0x8000;
        gprs32[2 * Gpr.RCX] = 1000;
      };
    }

    it('and the measurement would notice', () => {
      const kept: object[] = [];
      guest.vcpu.configureCallbacks({
        mem: (access) => {
          kept[0] = { access };
        },
      });
      expect(allocated(assistOf('0303', DEVICE))).to.be.greaterThan(8);
    });

    for (const [name, code, rbx] of [
      ['add eax, [rbx]', '0303', DEVICE],
      ['add rax, [rbx]', '480303', DEVICE],
      ['lock xadd [rbx], rax', 'f0480fc103', DEVICE],
      ['mov [rbx], rax, in two pages', '488903', DEVICE + 0xffd],
      ['mov rax, [rbx], half of it memory', '488b03', DEVICE - 4],
      ['push [rbx]', 'ff33', DEVICE],
      ['rep movsq', 'f348a5', 0],
      ['lodsd', 'ad', 0],
      ['movups [rbx], xmm0', '0f1103', DEVICE],
      ['in al, dx', 'ec', 0],
      ['out dx, eax', 'ef', 0],
      ['rep insd', 'f36d', 0],
    ] as const) {
      it(name, () => {
        let value = 0;
        guest.vcpu.configureCallbacks({
          mem: ({ gpa, write, data }) => {
            if (!write) data[0] = value++ & gpa;
          },
          io: ({ port, data }) => {
            data[0] = value++ & port;
          },
        });
        expect(allocated(assistOf(code, rbx)), 'bytes for each').to.be.below(1);
      });
    }
  });
}
