// Any bytes as code, in every mode, over any state that a hypervisor can enter with: the decoder and the executor must
// neither leave the guest's pages, nor hang, nor do what C++ leaves undefined.
#include <cstdlib>
#include <iterator>
#include <memory>

#include "input.h"
#include "mock/cpu/cpu.h"

namespace nvmm::fuzz {
namespace {

using namespace cpu;

// Sixteen pages, each an allocation of its own, so that AddressSanitizer sees whoever crosses an end. They are at 0,
// again behind that, partly for reading only, and the last one below 4 GiB too.
class Memory final : public PhysicalMemory {
 public:
  static constexpr unsigned kPages = 16;

  Memory() {
    for (auto& page : pages_) page.reset(static_cast<uint8_t*>(std::aligned_alloc(4096, 4096)));
  }

  HostPage page(uint64_t gpa) override {
    const uint64_t number = gpa >> 12;
    if (number == 0xfffff) return {pages_[kPages - 1].get(), kReadable | kWritable | kExecutable};
    if (number >= 2 * kPages) return {nullptr, 0};
    const bool readOnly = number >= kPages + kPages / 2;
    const auto prot = static_cast<uint8_t>(kReadable | kExecutable | (readOnly ? 0 : kWritable));
    return {pages_[number % kPages].get(), prot};
  }

  void clear() {
    for (auto& page : pages_) std::memset(page.get(), 0, 4096);
  }
  uint8_t& at(uint64_t address) { return pages_[address / 4096 % kPages].get()[address % 4096]; }
  template <typename T>
  void write(uint64_t address, T value) {
    for (unsigned i = 0; i < sizeof value; i++) at(address + i) = static_cast<uint8_t>(value >> 8 * i);
  }

 private:
  struct Free {
    void operator()(uint8_t* page) const { std::free(page); }
  };
  std::unique_ptr<uint8_t, Free> pages_[kPages];
};

// Where the parts of a small operating system lie.
constexpr uint64_t kCode = 0x1000, kGdt = 0x2000, kIdt = 0x3000, kHandler = 0x4000, kTss = 0x5000, kStack = 0x7000,
                   kTables = 0x8000;

enum class Mode : uint8_t { Real, Virtual8086, Protected16, Protected32, Paged32, Pae, Compatibility, Long };
constexpr unsigned kModes = 8;

constexpr uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t attrib) {
  return (limit & 0xffff) | (base & 0xffffff) << 16 | (attrib & 0xff) << 40 | (limit >> 16 & 0xf) << 48 |
         (attrib >> 8 & 0xf) << 52 | (base >> 24 & 0xff) << 56;
}

// Code and data of both rings and all sizes, a TSS, an LDT, and gates of each kind.
void makeGdt(Memory& memory, bool lma) {
  constexpr uint64_t kFlat = 0xfffff;
  const uint64_t entries[] = {
      0,
      descriptor(0, kFlat, 0xc9b),  // 08: code, 32 bits
      descriptor(0, kFlat, 0xc93),  // 10: data
      descriptor(0, kFlat, 0xa9b),  // 18: code, 64 bits
      descriptor(0, kFlat, 0xcfb),  // 20: the same for ring 3
      descriptor(0, kFlat, 0xcf3),  // 28
      descriptor(0, kFlat, 0xafb),  // 30
      descriptor(0, 0xffff, 0x9b),  // 38: code, 16 bits
      descriptor(0, 0xffff, 0x93),  // 40: data
      descriptor(kTss, 0xfff, 0x89),
      0,                                                         // 50: its second half in long mode
      descriptor(kGdt, 0xffff, 0x82),                            // 58: an LDT that is the GDT
      0,                                                         // 60
      uint64_t{0xec} << 40 | (lma ? 0x18 : 8) << 16 | kHandler,  // 68: call gate
      0,                                                         // 70
      uint64_t{0xe5} << 40 | 0x80 << 16,                         // 78: task gate
      descriptor(kTss + 0x800, 0x7ff, 0x89),                     // 80: the task behind it
      descriptor(0, kFlat, 0xc9f),                               // 88: conforming code
      descriptor(0, 0x7fff, 0x97),                               // 90: data that expands down
  };
  for (unsigned i = 0; i < std::size(entries); i++) memory.write(kGdt + 8 * i, entries[i]);
}

void makeIdt(Memory& memory, Mode mode, bool lma) {
  for (unsigned i = 0; i < 48; i++) {
    const uint64_t handler = kHandler + 16 * i;
    memory.write<uint8_t>(handler, i % 2 ? 0xcf : 0xf4);  // IRET, or HLT
    if (mode == Mode::Real) {
      memory.write(4 * i, static_cast<uint32_t>(handler));
    } else {
      const uint64_t selector = lma ? 0x18 : 0x08, access = i % 3 ? 0xee : i % 2 ? 0xef : 0x8e;
      memory.write(kIdt + (lma ? 16 : 8) * i, (handler & 0xffff) | selector << 16 | access << 40);
    }
  }
}

// The first 128 KiB, identically; the last entries are not present.
void makePageTables(Memory& memory, Mode mode) {
  const bool narrow = mode == Mode::Paged32;
  const unsigned levels = narrow ? 2 : mode == Mode::Pae ? 3 : 4;
  for (unsigned level = 0; level + 1 < levels; level++) {
    const uint64_t table = kTables + 0x1000 * level, rights = mode == Mode::Pae && level == 0 ? 1 : 7;
    memory.write<uint64_t>(table, (table + 0x1000) | rights);
  }
  const uint64_t last = kTables + 0x1000 * (levels - 1);
  for (unsigned i = 0; i < 32; i++) {
    const uint32_t entry = 0x1000 * i | (i == 14 ? 6 : i == 13 ? 5 : i == 12 ? 3 : 7);
    memory.write(last + (narrow ? 4 : 8) * i, entry);
  }
}

State startOf(Mode mode, bool user) {
  State s{};
  s.rip = kCode;
  s.rflags = kFlagsFixed;
  s.gpr[RSP] = kStack;
  s.cr0 = kET | kNE;
  s.cr4 = kOSFXSR | kOSXMMEXCPT;
  s.dr6 = 0xffff0ff0;
  s.dr7 = 0x400;
  s.xcr0 = 1;
  s.pat = 0x0007040600070406;
  s.fpu.fcw = 0x37f;
  s.fpu.mxcsr = 0x1f80;
  s.gdtr = {kGdt, 0x97};
  s.idtr = {kIdt, 0xfff};
  s.ldtr = {0x58, 0x82, 0xffff, kGdt};
  s.tr = {0x48, 0x8b, 0xfff, kTss};
  if (mode == Mode::Real || mode == Mode::Virtual8086) {
    const bool v86 = mode == Mode::Virtual8086;
    for (Segment& seg : s.seg) seg = {0, static_cast<uint16_t>(v86 ? 0xf3 : 0x93), 0xffff, 0};
    if (!v86) s.seg[CS].attrib = 0x9b;
    if (!v86) s.idtr = {0, 0x3ff};
    if (v86) s.rflags |= kVM | kIOPL;
    if (v86) s.cr0 |= kPE;
    s.cpl = v86 ? 3 : 0;
    return s;
  }
  const bool wide = mode != Mode::Protected16, lma = mode >= Mode::Compatibility;
  s.cr0 |= kPE | (mode >= Mode::Paged32 ? kPG | kWP : 0);
  s.cr4 |= mode == Mode::Paged32 ? kPSE : mode >= Mode::Pae ? kPAE : 0;
  s.cr3 = kTables;
  if (lma) s.efer = kLME | kLMA | kSCE | kNXE;
  if (lma) s.star = uint64_t{0x0008} << 32 | uint64_t{0x18} << 48;
  s.lstar = s.cstar = s.sysenterEip = kHandler;
  s.sysenterEsp = kStack;
  s.sysenterCs = 8;
  s.cpl = user ? 3 : 0;
  const unsigned privilege = s.cpl << 5, size = wide ? 0xc00 : 0;
  const uint32_t limit = wide ? 0xffffffff : 0xffff;
  for (Segment& seg : s.seg) {
    seg = {static_cast<uint16_t>(user ? 0x2b : 0x10), static_cast<uint16_t>(size | 0x93 | privilege), limit, 0};
  }
  const unsigned code = mode == Mode::Long ? 0xa00 : size;
  s.seg[CS] = {static_cast<uint16_t>(user ? 0x23 : 8), static_cast<uint16_t>(code | 0x9b | privilege), limit, 0};
  return s;
}

// What programs have in their registers, and what breaks them.
uint64_t interesting(Input& in) {
  constexpr uint64_t kValues[] = {0,          1,          2,       0x10,          0x6000,     0x6ffd,
                                  0xfff,      0xfffe,     0x1fff8, 0x7fffffff,    0x80000000, 0xffffffff,
                                  0xfffffff0, 1ull << 63, ~0ull,   0x7fffffffffff};
  const unsigned choice = in.below(32);
  return choice < 16 ? kValues[choice] : choice == 16 ? in.take<uint64_t>() : 0x6000 + 0x100 * choice;
}

// Any bit of the state, then what the State's types rule out, and its keeper before it gets here.
void rewriteState(Input& in, State& state, const Model& model) {
  auto* bytes = reinterpret_cast<uint8_t*>(&state);
  const size_t offset = in.take<uint16_t>() % (sizeof state - 8);
  in.take(bytes + offset, 8);
  for (bool* flag : {&state.interruptShadow, &state.shadowOfSti, &state.nmiBlocked}) {
    *reinterpret_cast<uint8_t*>(flag) &= 1;
  }
  for (Segment& seg : state.seg) seg.attrib &= 0xfff;
  state.ldtr.attrib &= 0xfff;
  state.tr.attrib &= 0xfff;
  state.gpr[16] = 0;
  state.cpl &= 3;
  state.fpu.mxcsr &= model.mxcsrMask;
}

void prepareEvent(Input& in, Event& event) {
  event.kind = static_cast<EventKind>(in.below(7));
  event.vector = in.take<uint8_t>();
  event.hasError = in.flag();
  event.error = in.take<uint16_t>();
  event.nextRip = kCode + event.vector;
}

// What a hypervisor does about an exit, or not. False: it gives up.
bool answer(Input& in, Cpu& cpu, const Exit& exit) {
  State& state = cpu.state();
  switch (exit.kind) {
    case ExitKind::Budget:
    case ExitKind::InterruptWindow:
    case ExitKind::NmiWindow: break;
    case ExitKind::Shutdown:
    case ExitKind::InvalidState: return false;
    case ExitKind::Memory:
      if (exit.memory.length > sizeof exit.memory.bytes) std::abort();
      if (exit.deliveryInterrupted) cpu.controls().inject = exit.event;
      state.rip += in.below(16);
      break;
    default: state.gpr[RAX] = interesting(in); state.rip = exit.nextRip;
  }
  return true;
}

}  // namespace
}  // namespace nvmm::fuzz

using namespace nvmm::cpu;
using namespace nvmm::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Memory memory;
  Input in(data, size);
  const unsigned choice = in.take<uint8_t>();
  const auto mode = static_cast<Mode>(choice % kModes);
  const bool user = choice & 8, lma = mode >= Mode::Compatibility;
  const Model& kind = model(choice & 16 ? Vendor::Intel : Vendor::Amd);
  memory.clear();
  makeGdt(memory, lma);
  makeIdt(memory, mode, lma);
  makePageTables(memory, mode);
  memory.write<uint64_t>(kTss + 4, mode >= Mode::Compatibility ? kStack : kStack | uint64_t{0x10} << 32);

  Cpu cpu(memory, kind);
  State& state = cpu.state();
  state = startOf(mode, user);
  Controls& controls = cpu.controls();
  const unsigned wishes = in.take<uint8_t>();
  controls.interruptWindow = wishes & 1;
  controls.nmiWindow = wishes & 2;
  controls.interceptIret = wishes & 4;
  controls.interceptTaskSwitch = wishes & 8;
  controls.interceptCr8 = wishes & 16;
  if (wishes & 32) controls.interceptCr0 = 1u << 30 | 1u << 29;
  if (wishes & 64) controls.nativeMsr = [](uint32_t, bool) { return true; };

  const unsigned details = in.take<uint8_t>();
  for (unsigned i = 0; i < details % 16; i++) state.gpr[i == RSP ? 16 : i] = interesting(in);
  state.gpr[16] = 0;
  for (unsigned i = 0; i < details / 16 % 8; i++) rewriteState(in, state, kind);
  for (unsigned i = in.below(4); i > 0; i--) {
    const uint64_t address = in.take<uint16_t>();
    memory.write(address, in.take<uint64_t>());
  }
  const unsigned runs = 1 + in.below(8);
  uint8_t code[256];
  const size_t length = in.take(code, 1 + in.take<uint8_t>());
  const uint64_t at = state.seg[CS].base + state.rip;
  for (size_t i = 0; i < length; i++) memory.at(at + i) = code[i];

  for (unsigned i = 0; i < runs; i++) {
    const unsigned order = in.take<uint8_t>();
    if (order % 8 == 7) prepareEvent(in, controls.inject);
    if (order % 32 == 8) cpu.interrupt();
    if (order % 32 == 16) cpu.flushMemory();
    const uint64_t before = cpu.instructions(), budget = order % 4 == 3 ? 1 : 20 + order;
    const Exit& exit = cpu.run(budget);
    // A block has at most 32 instructions, an event counts as one.
    if (cpu.instructions() - before > budget + 64) std::abort();
    if (state.gpr[16] != 0 || state.cpl > 3) std::abort();
    if (!answer(in, cpu, exit)) break;
  }
  return 0;
}
