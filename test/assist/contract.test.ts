// What the assists promise beside the instructions themselves: callbacks, errors, what stays as it was, the other exits.
import { expect } from 'chai';
import { AssistError, ExitReason, Gpr, Prot, Seg, StateFlag, type IoAccess, type MemAccess } from 'nvmm';
import { AssistGuest, CODE, DATA, DEVICE, VENDORS } from '../support/assist.js';
import { expectCode } from '../support/expect.js';
import { bytes } from '../support/guest.js';

for (const vendor of VENDORS) {
  describe(`the contract of the assists [${vendor}]`, () => {
    let guest: AssistGuest;
    beforeEach(() => {
      guest = new AssistGuest(vendor, 'long', true);
      guest.reset();
    });
    afterEach(() => {
      guest.close();
    });

    /** Runs `code` into its exit, with RBX and RSI at the device and RDI at memory. */
    function runInto(code: string, reason: number = ExitReason.MEMORY): void {
      guest.load(bytes(code));
      const { gprs } = guest.vcpu.state;
      gprs[Gpr.RBX] = gprs[Gpr.RSI] = BigInt(DEVICE);
      gprs[Gpr.RDI] = BigInt(DATA);
      gprs[Gpr.RCX] = 5n;
      gprs[Gpr.RDX] = 0x123n;
      expect(guest.vcpu.run()).to.equal(reason);
    }

    /** All of the comm page. */
    const page = (): Uint8Array => new Uint8Array(guest.vcpu.state.gprs.buffer).slice();

    describe('callbacks', () => {
      it('get the access, with exactly its bytes', () => {
        const seen: { gpa: number; write: boolean; size: number; data: Uint8Array }[] = [];
        guest.vcpu.configureCallbacks({
          mem: (access) => {
            seen.push({ ...access, data: access.data.slice() });
            if (!access.write) access.data.set([0xf0, 0xde, 0xbc, 0x9a]);
          },
        });
        runInto('0903'); // or [rbx], eax
        guest.vcpu.state.gprs[Gpr.RAX] = 0xf0f0f0fn;
        guest.vcpu.assistMem();
        expect(seen).to.deep.equal([
          { gpa: DEVICE, write: false, size: 4, data: new Uint8Array(4) },
          { gpa: DEVICE, write: true, size: 4, data: Uint8Array.of(0xff, 0xdf, 0xbf, 0x9f) },
        ]);
      });

      it('get one object that is used again and again', () => {
        const objects = new Set<MemAccess>();
        guest.vcpu.configureCallbacks({ mem: (access) => objects.add(access) });
        runInto('a5 a5 0903'); // movsd; movsd; or [rbx], eax
        guest.vcpu.state.gprs[Gpr.RDI] = BigInt(DEVICE + 0x100);
        for (let i = 0; i < 3; i++) {
          guest.vcpu.assistMem();
          guest.vcpu.run();
        }
        expect(objects.size).to.equal(1);
      });

      it('get chunks of an access that crosses pages, in the order of the addresses', () => {
        runInto('488b83 fd0f0000'); // mov rax, [rbx + 0xffd]
        guest.device.set([1, 2, 3, 4, 5, 6, 7, 8], 0xffd);
        guest.vcpu.assistMem();
        expect(guest.vcpu.state.gprs[Gpr.RAX]).to.equal(0x0807060504030201n);
        expect(guest.accesses.map(({ gpa, size }) => [gpa - DEVICE, size])).to.deep.equal([
          [0xffd, 3],
          [0x1000, 5],
        ]);
      });

      for (const thrown of [new Error('a broken device'), null, 42]) {
        it(`may throw (${String(thrown)}): the VCPU is as before the instruction`, () => {
          const fail = (): never => {
            // eslint-disable-next-line @typescript-eslint/only-throw-error
            throw thrown;
          };
          const caught = (action: () => void): unknown => {
            try {
              action();
            } catch (error) {
              return error;
            }
            return expect.fail('nothing was thrown');
          };
          let writes = 0;
          guest.vcpu.configureCallbacks({
            mem: ({ write }) => {
              if (write) fail();
              writes++;
            },
            io: fail,
          });
          runInto('480103'); // add [rbx], rax
          let before = page();
          expect(
            caught(() => {
              guest.vcpu.assistMem();
            }),
          ).to.equal(thrown);
          expect(page()).to.deep.equal(before);
          expect(writes).to.equal(1);
          // And the next assist works.
          guest.vcpu.configureCallbacks({ mem: () => undefined });
          guest.vcpu.assistMem();
          expect(guest.vcpu.run()).to.equal(ExitReason.HALTED);

          guest.reset();
          guest.vcpu.configureCallbacks({ io: fail });
          runInto('f36c', ExitReason.IO); // rep insb
          before = page();
          expect(
            caught(() => {
              guest.vcpu.assistIo();
            }),
          ).to.equal(thrown);
          expect(page()).to.deep.equal(before);
        });
      }

      it('that throws leaves memory alone, too, where the access is split', () => {
        guest.vcpu.configureCallbacks({
          mem: () => {
            throw new Error('a broken device');
          },
        });
        runInto('488983 fcffffff'); // mov [rbx - 4], rax: the first half is memory
        guest.vcpu.state.gprs[Gpr.RAX] = -1n;
        expect(() => {
          guest.vcpu.assistMem();
        }).to.throw('a broken device');
        expect([...guest.memory.bytes.subarray(DEVICE - 4, DEVICE)]).to.deep.equal([0, 0, 0, 0]);
      });

      it('cannot be asynchronous', () => {
        const later: any = () => Promise.reject(new Error('late'));
        guest.vcpu.configureCallbacks({
          mem: later,
          io: later,
        });
        runInto('8b03');
        const before = page();
        expect(() => {
          guest.vcpu.assistMem();
        }).to.throw(TypeError, 'asynchronous');
        expect(page()).to.deep.equal(before);
        guest.reset();
        runInto('ec', ExitReason.IO);
        expect(() => {
          guest.vcpu.assistIo();
        }).to.throw(TypeError, 'asynchronous');
      });

      it('cannot assist the same VCPU', () => {
        guest.vcpu.configureCallbacks({
          mem: () => {
            guest.vcpu.assistMem();
          },
        });
        runInto('8b03');
        expectCode('EBUSY', () => {
          guest.vcpu.assistMem();
        });
      });

      for (const [name, close] of [
        [
          'the machine',
          () => {
            guest.machine.destroy();
          },
        ],
        [
          'the device',
          () => {
            guest.nvmm.close();
          },
        ],
      ] as const) {
        it(`may close ${name}`, () => {
          guest.vcpu.configureCallbacks({ mem: close, io: close });
          for (const code of ['0903', '0fc10b', '0f1003', 'a5', 'ff33']) {
            runInto(code);
            guest.vcpu.assistMem();
            expectCode('ENOENT', () => {
              guest.vcpu.assistMem();
            });
            guest.close();
            guest = new AssistGuest(vendor, 'long', true);
            guest.reset();
            guest.vcpu.configureCallbacks({ mem: close, io: close });
          }
          runInto('f36e', ExitReason.IO); // rep outsb
          guest.vcpu.state.gprs[Gpr.RSI] = BigInt(DATA);
          guest.vcpu.assistIo();
          expectCode('ENOENT', () => {
            guest.vcpu.assistIo();
          });
        });
      }

      it('may take themselves away', () => {
        const remove = (): void => {
          guest.vcpu.configureCallbacks({});
        };
        guest.vcpu.configureCallbacks({ mem: remove, io: remove });
        runInto('0903'); // a read, and then a write
        const before = page();
        const expectNone = (name: string, action: () => void): void => {
          expect(expectCode('EINVAL', action).message).to.include(`${name} callback`);
          expect(page()).to.deep.equal(before);
        };
        expectNone('mem', () => {
          guest.vcpu.assistMem();
        });
        guest.reset();
        guest.vcpu.configureCallbacks({ mem: remove, io: remove });
        runInto('f36c', ExitReason.IO); // rep insb: five of them
        before.set(page());
        expectNone('io', () => {
          guest.vcpu.assistIo();
        });
      });

      it('may destroy the VCPU, unmap and free memory', () => {
        guest.vcpu.configureCallbacks({
          mem: () => {
            guest.machine.unmapGpa(0);
            guest.vcpu.destroy();
            guest.memory.free();
          },
        });
        runInto('a5'); // movsd
        guest.vcpu.assistMem();
        expectCode('ENOENT', () => {
          guest.vcpu.assistMem();
        });
        expectCode('ENOENT', () => {
          guest.vcpu.assistIo();
        });
      });

      it('are functions, and replaced as a whole', () => {
        expect(() => {
          guest.vcpu.configureCallbacks({ mem: 5 as any });
        }).to.throw(TypeError, 'mem must be a function');
        expect(() => {
          guest.vcpu.configureCallbacks({ memory: () => undefined } as any);
        }).to.throw(TypeError, 'memory');
        guest.vcpu.configureCallbacks({ io: () => undefined });
        runInto('8b03');
        const before = page();
        expect(
          expectCode('EINVAL', () => {
            guest.vcpu.assistMem();
          }).message,
        ).to.include('mem callback');
        expect(page()).to.deep.equal(before);
        guest.reset();
        guest.vcpu.configureCallbacks({});
        runInto('ec', ExitReason.IO);
        expect(
          expectCode('EINVAL', () => {
            guest.vcpu.assistIo();
          }).message,
        ).to.include('io callback');
        guest.vcpu.configureCallbacks({ io: () => expect.fail('the port comes second') });
        guest.reset();
        guest.load(bytes('6c')); // insb to the device, without a mem callback
        guest.vcpu.state.gprs[Gpr.RDI] = BigInt(DEVICE);
        expect(guest.vcpu.run()).to.equal(ExitReason.IO);
        expect(
          expectCode('EINVAL', () => {
            guest.vcpu.assistIo();
          }).message,
        ).to.include('mem callback');
      });
    });

    describe('errors', () => {
      it('a wrong exit is EINVAL', () => {
        expectCode('EINVAL', () => {
          guest.vcpu.assistMem();
        });
        expectCode('EINVAL', () => {
          guest.vcpu.assistIo();
        });
        runInto('8b03');
        expectCode('EINVAL', () => {
          guest.vcpu.assistIo();
        });
        expectCode('EINVAL', () => {
          guest.vcpu.completeRdmsr(0n);
        });
        expectCode('EINVAL', () => {
          guest.vcpu.completeWrmsr();
        });
        expectCode('EINVAL', () => {
          guest.vcpu.skipInstruction();
        });
      });

      for (const [name, code] of [
        ['LGDT', '0f0113'],
        ['IDIV', 'f73b'],
        ['PUSH of a register, to a stack in the device', '50'],
      ] as const) {
        it(`what is not known gives its bytes and address: ${name}`, () => {
          guest.vcpu.state.gprs[Gpr.RSP] = BigInt(DEVICE + 0x100);
          runInto(code);
          const before = page();
          const error: unknown = expectCode('ENODEV', () => {
            guest.vcpu.assistMem();
          });
          expect(error).to.be.instanceOf(AssistError).with.property('rip', BigInt(CODE));
          const known = Buffer.from((error as AssistError).bytes).toString('hex');
          expect(known.startsWith(code), known).to.equal(true);
          expect((error as AssistError).message)
            .to.include('0x1000')
            .and.include(bytes(code)[0]!.toString(16));
          expect(page()).to.deep.equal(before);
        });
      }

      it('execution outside memory is not emulated', () => {
        guest.load(bytes('ffe3')); // jmp rbx
        guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE);
        expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
        expect(guest.vcpu.exit.mem.prot).to.equal(Prot.EXEC);
        const error = expectCode('EFAULT', () => {
          guest.vcpu.assistMem();
        });
        expect(error).to.be.instanceOf(AssistError);
        expect(guest.accesses).to.deep.equal([]);
      });

      it('nor is the delivery of an event', () => {
        guest.load(bytes('8b03'));
        guest.vcpu.state.segs[Seg.IDT]!.base = BigInt(DEVICE);
        guest.vcpu.state.gprs[Gpr.RFLAGS] = 0x202n;
        guest.vcpu.inject({ type: 'INTR', vector: 0x20 });
        expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
        expect(guest.vcpu.exit.exitState.evtPending).to.equal(true);
        expectCode('ENODEV', () => {
          guest.vcpu.assistMem();
        });
        expect(guest.accesses).to.deep.equal([]);
      });

      it('nor are page tables outside memory', () => {
        const view = new DataView(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset);
        view.setBigUint64(0x11000 + 8, BigInt(DEVICE) | 7n, true); // the second GiB
        guest.load(bytes('8b03'));
        guest.vcpu.state.gprs[Gpr.RBX] = 0x4000_0000n;
        expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
        const before = page();
        expectCode('EFAULT', () => {
          guest.vcpu.assistMem();
        });
        expect(page()).to.deep.equal(before);
      });

      it('assists while the VCPU runs are EBUSY', async () => {
        guest.load(bytes('ebfe'));
        const run = guest.vcpu.runAsync();
        for (const action of [
          () => {
            guest.vcpu.assistMem();
          },
          () => {
            guest.vcpu.assistIo();
          },
          () => guest.vcpu.gvaToGpa(0n),
          () => {
            guest.vcpu.skipInstruction();
          },
          () => {
            guest.vcpu.injectUd();
          },
        ]) {
          expectCode('EBUSY', action);
        }
        guest.vcpu.stop();
        await run;
      });
    });

    describe('memory', () => {
      it('a write to a ROM goes to the callback, a read-modify-write reads the ROM itself', () => {
        const rom = guest.machine.allocate(0x1000);
        guest.machine.mapGpa(rom, DEVICE, { prot: Prot.READ | Prot.EXEC });
        rom.bytes[0] = 0x55;
        runInto('8803'); // mov [rbx], al
        guest.vcpu.state.gprs[Gpr.RAX] = 0x77n;
        guest.vcpu.assistMem();
        expect(guest.accesses).to.deep.equal([{ gpa: DEVICE, write: true, size: 1, data: [0x77] }]);
        expect(rom.bytes[0]).to.equal(0x55);
        guest.reset();
        runInto('800b 0a'); // or byte [rbx], 10
        guest.vcpu.assistMem();
        expect(guest.accesses).to.deep.equal([{ gpa: DEVICE, write: true, size: 1, data: [0x5f] }]);
      });

      it('what has been mapped since the exit is memory', () => {
        runInto('8903'); // mov [rbx], eax
        guest.vcpu.state.gprs[Gpr.RAX] = 0x1234n;
        guest.vcpu.assistMem(); // the page is known now
        guest.vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
        expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
        const ram = guest.machine.allocate(0x1000);
        guest.machine.mapGpa(ram, DEVICE);
        guest.vcpu.assistMem();
        expect(ram.bytes[0]).to.equal(0x34);
        expect(guest.accesses.length).to.equal(1);
      });

      it('follows a change of the page tables between two exits', () => {
        const view = new DataView(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset);
        const entry = 0x13000 + 8 * (DEVICE >> 12);
        runInto('8b03 8b03');
        guest.vcpu.assistMem();
        view.setBigUint64(entry, BigInt(DEVICE + 0x1000) | 0x67n, true);
        guest.vcpu.setState(StateFlag.CRS); // the processor forgets its translations
        expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
        guest.vcpu.assistMem();
        expect(guest.accesses.map(({ gpa }) => gpa)).to.deep.equal([DEVICE, DEVICE + 0x1000]);
      });
    });

    // Then it may go a shorter way.
    describe('an instruction that comes again', () => {
      /** Carries out the first instruction of `code`, and runs into it again. */
      function runIntoTwice(code: string): void {
        runInto(code);
        guest.vcpu.assistMem();
        comeBack();
      }

      function comeBack(): void {
        guest.vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
        guest.vcpu.setState(StateFlag.GPRS);
        expect(guest.vcpu.run()).to.equal(ExitReason.MEMORY);
      }

      const addresses = (): number[] => guest.accesses.map(({ gpa }) => gpa);

      it('follows its base register, within the page and to another one', () => {
        runIntoTwice('8b43 10'); // mov eax, [rbx + 0x10]
        guest.vcpu.assistMem();
        for (const offset of [0x20, 0x1008, 0]) {
          guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE + offset);
          comeBack();
          guest.vcpu.assistMem();
        }
        const at = DEVICE + 0x10;
        expect(addresses()).to.deep.equal([at, at, at + 0x20, at + 0x1008, at]);
      });

      it('follows the page tables', () => {
        const view = new DataView(guest.memory.bytes.buffer, guest.memory.bytes.byteOffset);
        const entry = 0x13000 + 8 * (DEVICE >> 12);
        runIntoTwice('8903'); // mov [rbx], eax
        guest.vcpu.assistMem();
        view.setBigUint64(entry, BigInt(DEVICE + 0x1000) | 0x67n, true);
        guest.vcpu.setState(StateFlag.CRS); // the processor forgets its translations
        comeBack();
        guest.vcpu.assistMem();
        expect(addresses()).to.deep.equal([DEVICE, DEVICE, DEVICE + 0x1000]);
      });

      it('is read anew where the guest has written another one', () => {
        runIntoTwice('8903'); // mov [rbx], eax
        guest.memory.bytes.set(bytes('8b03'), CODE); // mov eax, [rbx]
        comeBack();
        guest.vcpu.assistMem();
        expect(guest.accesses.map(({ write }) => write)).to.deep.equal([true, false]);
      });

      it('is as it was before it, if the callback throws', () => {
        for (const code of ['8b03', '8903', '0903', '0303', '8703', 'a5', 'ac']) {
          guest.reset();
          guest.vcpu.configureCallbacks({ mem: () => undefined });
          runInto(code);
          guest.vcpu.assistMem();
          const { gprs } = guest.vcpu.state;
          gprs[Gpr.RSI] = BigInt(DEVICE);
          gprs[Gpr.RDI] = BigInt(DATA);
          comeBack();
          const thrown = new Error('a broken device');
          guest.vcpu.configureCallbacks({
            mem: () => {
              throw thrown;
            },
          });
          const before = page();
          expect(() => {
            guest.vcpu.assistMem();
          }, code).to.throw(thrown);
          expect(page(), code).to.deep.equal(before);
        }
      });

      it('takes no more bytes from the callback than it has asked for', () => {
        guest.vcpu.configureCallbacks({
          mem: ({ data, write }) => {
            if (!write) new DataView(data.buffer).setBigUint64(0, 0x8877665544332211n, true);
          },
        });
        for (const [code, rax] of [
          ['8b03', 0x44332211n], // mov eax, [rbx]
          ['8a03', 0xffffffffffffff11n], // mov al, [rbx]
          ['668b03', 0xffffffffffff2211n], // mov ax, [rbx]
          ['0fb603', 0x11n], // movzx eax, byte [rbx]
          ['480fb703', 0x2211n], // movzx rax, word [rbx]
        ] as const) {
          guest.reset();
          runIntoTwice(code);
          guest.vcpu.state.gprs[Gpr.RAX] = 0xffffffffffffffffn;
          guest.vcpu.assistMem();
          expect(guest.vcpu.state.gprs[Gpr.RAX], code).to.equal(rax);
        }
      });

      it('clears RF and ends the interrupt shadow', () => {
        const { vcpu } = guest;
        guest.load(bytes('fb 8b03 90')); // sti; mov eax, [rbx]; nop
        for (let i = 0; i < 2; i++) {
          vcpu.state.gprs[Gpr.RIP] = BigInt(CODE);
          vcpu.state.gprs[Gpr.RFLAGS] = 2n;
          vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE);
          vcpu.setState(StateFlag.GPRS);
          expect(vcpu.run()).to.equal(ExitReason.MEMORY);
          expect(vcpu.exit.exitState.intShadow).to.equal(true);
          vcpu.state.gprs[Gpr.RFLAGS]! |= 0x1_0000n; // as Intel's processors set it
          vcpu.assistMem();
          expect(vcpu.state.gprs[Gpr.RFLAGS]! & 0x1_0000n).to.equal(0n);
          vcpu.getState(StateFlag.INTR);
          expect(vcpu.state.intr.intShadow).to.equal(false);
        }
      });
    });

    describe('completion', () => {
      it('clears RF and ends the interrupt shadow', () => {
        guest.load(bytes('fb 8b03 90')); // sti; mov eax, [rbx]; nop
        const { vcpu } = guest;
        vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE);
        vcpu.state.intr.intWindowExiting = true;
        vcpu.setState(StateFlag.INTR);
        expect(vcpu.run()).to.equal(ExitReason.MEMORY);
        expect(vcpu.exit.exitState.intShadow).to.equal(true);
        vcpu.state.gprs[Gpr.RFLAGS]! |= 0x1_0000n; // as Intel's processors set it
        vcpu.assistMem();
        expect(vcpu.state.gprs[Gpr.RFLAGS]! & 0x1_0000n).to.equal(0n);
        expect(vcpu.run(), 'the window is still armed, and open').to.equal(ExitReason.INT_READY);
        vcpu.getState(StateFlag.GPRS);
        expect(vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(CODE + 3));
      });

      it('completeRdmsr and completeWrmsr', () => {
        guest.load(bytes('b945230100 0f32 0f30')); // mov ecx, 0x12345; rdmsr; wrmsr
        const { vcpu } = guest;
        vcpu.state.gprs[Gpr.RAX] = vcpu.state.gprs[Gpr.RDX] = -1n;
        expect(vcpu.run()).to.equal(ExitReason.RDMSR);
        expectCode('EINVAL', () => {
          vcpu.completeWrmsr();
        });
        expect(() => {
          vcpu.completeRdmsr(-1n);
        }).to.throw(RangeError);
        expect(() => {
          vcpu.completeRdmsr(1.5);
        }).to.throw(RangeError);
        expect(() => {
          vcpu.completeRdmsr('1' as any);
        }).to.throw(TypeError);
        vcpu.completeRdmsr(0x89abcdef_fedcba98n);
        expect(vcpu.state.gprs[Gpr.RAX]).to.equal(0xfedcba98n);
        expect(vcpu.state.gprs[Gpr.RDX]).to.equal(0x89abcdefn);
        expect(vcpu.run()).to.equal(ExitReason.WRMSR);
        expect(vcpu.exit.wrmsr.val).to.equal(0x89abcdef_fedcba98n);
        vcpu.completeWrmsr();
        expect(vcpu.run()).to.equal(ExitReason.HALTED);
        guest.reset();
        guest.load(bytes('0f32'));
        expect(vcpu.run()).to.equal(ExitReason.RDMSR);
        vcpu.completeRdmsr(2 ** 33 + 5);
        expect(vcpu.state.gprs.slice(0, 3)).to.deep.equal(BigUint64Array.of(5n, 0n, 2n));
      });

      it('skipInstruction goes on behind CPUID, MONITOR, MWAIT, IN and WRMSR', () => {
        guest.load(bytes('0fa2 0f01c8 0f01c9 ec 0f30'));
        const { vcpu } = guest;
        vcpu.configureCpuid({ leaf: 0, exit: true });
        for (const reason of [
          ExitReason.CPUID,
          ExitReason.MONITOR,
          ExitReason.MWAIT,
          ExitReason.IO,
          ExitReason.WRMSR,
        ]) {
          expect(vcpu.run()).to.equal(reason);
          vcpu.getState(StateFlag.GPRS);
          vcpu.state.gprs[Gpr.RCX] = 0n;
          vcpu.setState(StateFlag.GPRS);
          vcpu.skipInstruction();
        }
        expect(vcpu.run()).to.equal(ExitReason.HALTED);
      });

      it('injectGp and injectUd raise the exception at the instruction', () => {
        for (const [inject, vector] of [
          [
            () => {
              guest.vcpu.injectGp();
            },
            13,
          ],
          [
            () => {
              guest.vcpu.injectGp(0x18);
            },
            13,
          ],
          [
            () => {
              guest.vcpu.injectUd();
            },
            6,
          ],
        ] as const) {
          guest.reset();
          guest.load(bytes('0f32'));
          expect(guest.vcpu.run()).to.equal(ExitReason.RDMSR);
          inject();
          expect(guest.vcpu.run()).to.equal(ExitReason.HALTED);
          guest.vcpu.getState(StateFlag.GPRS);
          expect(guest.vcpu.state.gprs[Gpr.RIP]).to.equal(BigInt(0x16000 + 2 * vector + 1));
        }
        expect(() => {
          guest.vcpu.injectGp(-1);
        }).to.throw(RangeError);
      });

      it('injectGp works in real mode', () => {
        const real = new AssistGuest(vendor, 'real', true);
        try {
          real.reset();
          real.load(bytes('0f32'));
          expect(real.vcpu.run()).to.equal(ExitReason.RDMSR);
          real.vcpu.injectGp();
          expect(real.vcpu.run()).to.equal(ExitReason.HALTED);
          real.vcpu.getState(StateFlag.GPRS | StateFlag.SEGS);
          expect(real.vcpu.state.gprs[Gpr.RIP]).to.equal(0x6000n + 27n);
          expect(real.vcpu.state.segs[Seg.CS]!.selector).to.equal(0x1000);
          expect(real.vcpu.state.segs[Seg.CS]!.base).to.equal(0x10000n);
        } finally {
          real.close();
        }
      });
    });

    it('makes no request of the device', () => {
      runInto('8b03');
      const { vcpu } = guest;
      // Of another object than the page: a fetch would overwrite this.
      vcpu.state.drs[0] = 0x1234n;
      vcpu.assistMem();
      expect(vcpu.state.drs[0]).to.equal(0x1234n);
    });

    for (const [name, code, size] of [
      ['mov dword [rbx], 0x12345678', 'c783 00000000 78563412', 4],
      ['btr word [fs:rbx], 5', '64 66 0fba33 05', 2],
      ['lock not byte [rbx]', 'f0 f613', 1],
      ['movbe [rbx], r8', '4c 0f38f103', 8],
    ] as const) {
      it(`an instruction in two pages is fetched from both, wherever it is cut: ${name}`, () => {
        const instruction = bytes(code);
        for (let here = 1; here < instruction.length; here++) {
          guest.reset();
          const at = 0x2000 - here;
          guest.memory.bytes.set([...instruction, 0xf4], at);
          guest.vcpu.state.gprs[Gpr.RIP] = BigInt(at);
          guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE);
          guest.run();
          const { gpa, write, size: written } = guest.accesses.at(-1)!;
          expect([gpa, write, written], `${here} bytes in the first page`).to.deep.equal([DEVICE, true, size]);
        }
      });
    }

    it('an instruction at the very end of memory is not read beyond it', () => {
      const at = DEVICE - 3;
      guest.memory.bytes.set(bytes('8803 f4'), at); // mov [rbx], al; hlt
      guest.vcpu.state.gprs[Gpr.RIP] = BigInt(at);
      guest.vcpu.state.gprs[Gpr.RBX] = BigInt(DEVICE);
      guest.run();
      expect(guest.accesses.length).to.equal(1);
    });
  });
}

describe('assists on small guests', () => {
  it('README’s loop: a port and a device', () => {
    const guest = new AssistGuest('amd', 'protected32', true);
    try {
      guest.reset();
      guest.load(bytes('b041 e6e9 a2 00c00000')); // mov al, 'A'; out 0xe9, al; mov [0xc000], al
      const ports: IoAccess[] = [];
      const { vcpu } = guest;
      let byte = 0;
      vcpu.configureCallbacks({
        io: (access) => ports.push({ ...access, data: access.data.slice() }),
        mem: ({ data }) => (byte = data[0]!),
      });
      let reason: number;
      while ((reason = vcpu.run()) !== ExitReason.HALTED) {
        if (reason === ExitReason.IO) vcpu.assistIo();
        else if (reason === ExitReason.MEMORY) vcpu.assistMem();
      }
      expect(ports).to.deep.equal([{ port: 0xe9, in: false, size: 1, data: Uint8Array.of(0x41) }]);
      expect(byte).to.equal(0x41);
    } finally {
      guest.close();
    }
  });
});
