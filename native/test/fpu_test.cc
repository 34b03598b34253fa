// What the oracle can't see of x87, MMX and SSE, since it is not for user mode or depends on the mode: when they are
// disabled, how exceptions are reported, and what their state looks like in memory. The bytes are those of the assembly
// beside them; each program ends with HLT.
#include <cstdio>
#include <string>
#include <vector>

#include "guest.h"

using namespace nvmm::cpu;

namespace {

int failures = 0, checks = 0;

template <typename A, typename B>
void expectEqual(A actual, B expected, const std::string& what) {
  ++checks;
  const auto a = static_cast<uint64_t>(actual), e = static_cast<uint64_t>(expected);
  if (a == e) return;
  ++failures;
  std::printf("%s is %llx, expected %llx\n", what.c_str(), static_cast<unsigned long long>(a),
              static_cast<unsigned long long>(e));
}

constexpr uint64_t kData = 0x4000;    // for the operands of the programs
constexpr unsigned kNothing = 0x100;  // no exception

void initialize(FpuImage& fpu) {
  fpu.fcw = 0x37f;
  fpu.mxcsr = 0x1f80;
}

// ---- Exceptions, in real mode: vector n leads to the n-th HLT of a page ---------------------------------------------

struct Trap {
  const char* assembly;
  std::vector<uint8_t> code;
  uint64_t cr0, cr4;
  unsigned vector;
};

constexpr unsigned kUd = 6, kNm = 7, kGp = 13, kMf = 16, kXm = 19;
constexpr uint64_t kSse = kOSFXSR | kOSXMMEXCPT;

// clang-format off
const Trap kTraps[] = {
    {"fld1", {0xd9, 0xe8}, 0, 0, kNothing},
    {"fld1", {0xd9, 0xe8}, kMP, 0, kNothing},
    {"fld1", {0xd9, 0xe8}, kTS, 0, kNm},
    {"fld1", {0xd9, 0xe8}, kEM, 0, kNm},
    {"fninit", {0xdb, 0xe3}, kTS, 0, kNm},
    {"fnstsw ax", {0xdf, 0xe0}, kEM, 0, kNm},
    {"fnstcw [4000h]", {0xd9, 0x3e, 0x00, 0x40}, kTS, 0, kNm},
    {"wait", {0x9b}, kTS, 0, kNothing},
    {"wait", {0x9b}, kMP, 0, kNothing},
    {"wait", {0x9b}, kEM, 0, kNothing},
    {"wait", {0x9b}, kMP | kTS, 0, kNm},
    {"paddb mm0, mm1", {0x0f, 0xfc, 0xc1}, 0, 0, kNothing},
    {"paddb mm0, mm1", {0x0f, 0xfc, 0xc1}, kTS, 0, kNm},
    {"paddb mm0, mm1", {0x0f, 0xfc, 0xc1}, kEM, 0, kUd},
    {"paddb mm0, mm1", {0x0f, 0xfc, 0xc1}, kEM | kTS, 0, kUd},
    {"emms", {0x0f, 0x77}, kEM, 0, kUd},
    {"paddb xmm0, xmm1", {0x66, 0x0f, 0xfc, 0xc1}, 0, 0, kUd},
    {"paddb xmm0, xmm1", {0x66, 0x0f, 0xfc, 0xc1}, 0, kSse, kNothing},
    {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, 0, kSse, kNothing},
    {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, 0, 0, kUd},
    {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, kTS, kSse, kNm},
    {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, kEM | kTS, kSse, kUd},
    {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, kTS, 0, kUd},
    {"addps xmm0, [4001h]", {0x0f, 0x58, 0x06, 0x01, 0x40}, 0, kSse, kGp},
    {"movups xmm0, [4001h]", {0x0f, 0x10, 0x06, 0x01, 0x40}, 0, kSse, kNothing},
    {"cvtpi2ps xmm0, mm0", {0x0f, 0x2a, 0xc0}, 0, 0, kUd},
    {"prefetcht0 [4000h]", {0x0f, 0x18, 0x0e, 0x00, 0x40}, kEM | kTS, 0, kNothing},
    {"sfence", {0x0f, 0xae, 0xf8}, kEM | kTS, 0, kNothing},
    {"movnti [4000h], eax", {0x0f, 0xc3, 0x06, 0x00, 0x40}, kEM | kTS, 0, kNothing},
    {"crc32 eax, eax", {0xf2, 0x66, 0x0f, 0x38, 0xf1, 0xc0}, kEM | kTS, 0, kNothing},
    {"ldmxcsr [4000h]", {0x0f, 0xae, 0x16, 0x00, 0x40}, 0, 0, kUd},
    {"ldmxcsr [4000h]", {0x0f, 0xae, 0x16, 0x00, 0x40}, 0, kSse, kNothing},
    {"ldmxcsr [4010h]", {0x0f, 0xae, 0x16, 0x10, 0x40}, 0, kSse, kGp},  // all ones
    {"fxsave [4040h]", {0x0f, 0xae, 0x06, 0x40, 0x40}, 0, 0, kNothing},
    {"fxsave [4040h]", {0x0f, 0xae, 0x06, 0x40, 0x40}, kTS, 0, kNm},
    {"fxsave [4040h]", {0x0f, 0xae, 0x06, 0x40, 0x40}, kEM, 0, kNm},
    {"fxsave [4048h]", {0x0f, 0xae, 0x06, 0x48, 0x40}, 0, 0, kGp},
    {"xsave [4040h]", {0x0f, 0xae, 0x26, 0x40, 0x40}, 0, 0, kUd},
    {"xsave [4040h]", {0x0f, 0xae, 0x26, 0x40, 0x40}, 0, kOSXSAVE, kNothing},
    {"xsave [4040h]", {0x0f, 0xae, 0x26, 0x40, 0x40}, kTS, kOSXSAVE, kNm},
    {"xsave [4050h]", {0x0f, 0xae, 0x26, 0x50, 0x40}, 0, kOSXSAVE, kGp},
    // An exception that is not masked waits for the next instruction that minds. FLDCW of 37B unmasks division by zero.
    {"fldcw [4020h]; fld1; fldz; fdivp", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9}, 0, 0, kNothing},
    {"fldcw [4020h]; fld1; fldz; fdivp; wait", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b}, kNE, 0, kMf},
    {"fldcw [4020h]; fld1; fldz; fdivp; fnop", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xd9, 0xd0}, kNE, 0, kMf},
    {"fldcw [4020h]; fld1; fldz; fdivp; fnop", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xd9, 0xd0}, 0, 0, kMf},
    {"fldcw [4020h]; fld1; fldz; fdivp; fnclex; fnop", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xdb, 0xe2, 0xd9, 0xd0}, kNE, 0, kNothing},
    {"fldcw [4020h]; fld1; fldz; fdivp; paddb mm0, mm1", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x0f, 0xfc, 0xc1}, kNE, 0, kMf},
    {"fldcw [4020h]; fld1; fldz; fdivp; addps xmm0, xmm1", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x0f, 0x58, 0xc1}, kNE, kSse, kNothing},
    {"fldcw [4020h]; fld1; fldz; fdivp; fxsave [4040h]", {0xd9, 0x2e, 0x20, 0x40, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x0f, 0xae, 0x06, 0x40, 0x40}, kNE, 0, kNothing},
    // MXCSR of 1D80 unmasks division by zero.
    {"ldmxcsr [4024h]; divps xmm0, xmm1", {0x0f, 0xae, 0x16, 0x24, 0x40, 0x0f, 0x5e, 0xc1}, 0, kSse, kXm},
    {"ldmxcsr [4024h]; divps xmm0, xmm1", {0x0f, 0xae, 0x16, 0x24, 0x40, 0x0f, 0x5e, 0xc1}, 0, kOSFXSR, kUd},
};
// clang-format on

void traps() {
  for (const Trap& t : kTraps) {
    constexpr uint64_t kHandlers = 0x3000;
    Guest guest(Start::Real);
    State& s = guest.cpu.state();
    s.cr0 = (s.cr0 & ~kNE) | t.cr0;
    s.cr4 = t.cr4;
    initialize(s.fpu);
    s.fpu.xmm[0].lane[0] = s.fpu.xmm[0].lane[1] = 0x3f8000003f800000;
    for (unsigned n = 0; n < 32; ++n) {
      guest.write<uint32_t>(n * 4, kHandlers + n);
      guest.write<uint8_t>(kHandlers + n, 0xf4);
    }
    guest.write<uint32_t>(kData, 0x1f80);
    guest.write<uint32_t>(kData + 0x10, 0xffffffff);
    guest.write<uint16_t>(kData + 0x20, 0x37b);
    guest.write<uint32_t>(kData + 0x24, 0x1d80);
    guest.load(t.code.data(), t.code.size());
    guest.write<uint8_t>(Guest::kCode + t.code.size(), 0xf4);
    guest.cpu.run(1000);
    const uint64_t haltedAt = s.rip;
    const unsigned vector = haltedAt - kHandlers < 32 ? static_cast<unsigned>(haltedAt - kHandlers) : kNothing;
    char bits[48];
    std::snprintf(bits, sizeof(bits), " with CR0 %x, CR4 %x: vector", static_cast<unsigned>(t.cr0),
                  static_cast<unsigned>(t.cr4));
    expectEqual(vector, t.vector, t.assembly + std::string(bits));
    if (vector == kNothing) expectEqual(haltedAt, Guest::kCode + t.code.size(), t.assembly + std::string(bits));
  }
}

// ---- The environment in memory --------------------------------------------------------------------------------------

void run(Guest& guest, const std::vector<uint8_t>& code) {
  guest.load(code.data(), code.size());
  guest.write<uint8_t>(Guest::kCode + code.size(), 0xf4);
  guest.cpu.state().rip = Guest::kCode;
  expectEqual(static_cast<unsigned>(guest.cpu.run(1000).kind), static_cast<unsigned>(ExitKind::Halt), "exit");
}

void pointers(FpuImage& fpu) {
  initialize(fpu);
  fpu.fsw = 0x3800;  // TOP = 7
  fpu.ftw = 0x80;
  fpu.fop = 0x5a5;
  fpu.fip = 0x12345678;
  fpu.fdp = 0x9abcdef0;
  fpu.st[0] = {0x8000000000000000, 0x3fff};
}

void environments() {
  struct {
    Start start;
    std::vector<uint8_t> code;  // FNSTENV [4000h]
    unsigned size;
    std::vector<uint16_t> expected;
  } const kForms[] = {
      {Start::Real, {0xd9, 0x36, 0x00, 0x40}, 2, {0x37f, 0x3800, 0x3fff, 0x5678, 0x45a5, 0xdef0, 0xc000}},
      {Start::Real,
       {0x66, 0xd9, 0x36, 0x00, 0x40},
       4,
       {0x37f, 0xffff, 0x3800, 0xffff, 0x3fff, 0xffff, 0x5678, 0xffff, 0x45a5, 0x0123, 0xdef0, 0xffff, 0xc000, 0x09ab}},
      {Start::Protected16, {0xd9, 0x36, 0x00, 0x40}, 2, {0x37f, 0x3800, 0x3fff, 0x5678, 0, 0xdef0, 0}},
      {Start::Protected32,
       {0xd9, 0x35, 0x00, 0x40, 0x00, 0x00},
       4,
       {0x37f, 0xffff, 0x3800, 0xffff, 0x3fff, 0xffff, 0x5678, 0x1234, 0, 0x5a5, 0xdef0, 0x9abc, 0, 0xffff}},
      {Start::Long,
       {0xd9, 0x34, 0x25, 0x00, 0x40, 0x00, 0x00},
       4,
       {0x37f, 0xffff, 0x3800, 0xffff, 0x3fff, 0xffff, 0x5678, 0x1234, 0, 0x5a5, 0xdef0, 0x9abc, 0, 0xffff}},
  };
  for (const auto& form : kForms) {
    Guest guest(form.start);
    pointers(guest.cpu.state().fpu);
    run(guest, form.code);
    for (size_t i = 0; i < form.expected.size(); ++i) {
      expectEqual(guest.read<uint16_t>(kData + i * 2), form.expected[i], "FNSTENV, word " + std::to_string(i));
    }
    expectEqual(guest.cpu.state().fpu.fcw, 0x37f, "FCW");

    // FLDENV brings it back: the same bytes with another ModRM.reg.
    FpuImage& fpu = guest.cpu.state().fpu;
    fpu = {};
    std::vector<uint8_t> load = form.code;
    load[load[0] == 0x66 ? 2 : 1] ^= (6 ^ 4) << 3;
    run(guest, load);
    const bool linear = form.start == Start::Real, narrow = form.size == 2;
    expectEqual(fpu.fsw, 0x3800, "FSW");
    expectEqual(fpu.ftw, 0x80, "FTW");
    expectEqual(fpu.fip, narrow ? (linear ? 0x45678 : 0x5678) : 0x12345678, "FIP");
    expectEqual(fpu.fdp, narrow ? (linear ? 0xcdef0 : 0xdef0) : 0x9abcdef0, "FDP");
    expectEqual(fpu.fop, narrow && !linear ? 0 : 0x5a5, "FOP");
  }
}

void savedState() {
  Guest guest(Start::Long);
  FpuImage& fpu = guest.cpu.state().fpu;
  pointers(fpu);
  for (unsigned i = 0; i < 8; ++i) fpu.st[i] = {0x8000000000000000 | i, static_cast<uint16_t>(0x3fff + i)};
  // FNSAVE [4000h]; FRSTOR [4000h]
  run(guest, {0xdd, 0x34, 0x25, 0x00, 0x40, 0x00, 0x00});
  expectEqual(fpu.fcw, 0x37f, "FCW after FNSAVE");
  expectEqual(fpu.fsw, 0, "FSW after FNSAVE");
  expectEqual(fpu.ftw, 0, "FTW after FNSAVE");
  expectEqual(guest.read<uint64_t>(kData + 28 + 30), 0x8000000000000003, "ST(3) of FNSAVE");
  run(guest, {0xdd, 0x24, 0x25, 0x00, 0x40, 0x00, 0x00});
  expectEqual(fpu.fsw, 0x3800, "FSW after FRSTOR");
  for (unsigned i = 0; i < 8; ++i) expectEqual(fpu.st[i].signExponent, 0x3fff + i, "ST after FRSTOR");
}

// Control instructions leave the pointers as they are. The others set FIP, and on AMD's processors FOP and the FDP of
// an operand in memory, which Intel's keep for unmasked exceptions.
void lastInstruction() {
  struct {
    const char* name;
    std::vector<uint8_t> code;
    uint16_t fop;  // 0: a control instruction
    bool memory;
  } const kCases[] = {
      {"FLD1", {0xd9, 0xe8}, 0x1e8, false},
      {"FNOP", {0xd9, 0xd0}, 0x1d0, false},
      {"FINCSTP", {0xd9, 0xf7}, 0x1f7, false},
      {"FST m32", {0x3e, 0xd9, 0x15, 0x80, 0x40, 0, 0}, 0x115, true},
      {"FILD m64", {0xdf, 0x2d, 0x80, 0x40, 0, 0}, 0x72d, true},
      {"FNCLEX", {0xdb, 0xe2}, 0, false},
      {"FLDCW", {0xd9, 0x2d, 0x80, 0x40, 0, 0}, 0, true},
      {"FNSTSW AX", {0xdf, 0xe0}, 0, false},
      {"FWAIT", {0x9b}, 0, false},
      {"EMMS", {0x0f, 0x77}, 0, false},
  };
  for (Vendor vendor : {Vendor::Amd, Vendor::Intel}) {
    for (const auto& c : kCases) {
      Guest guest(Start::Protected32, vendor);
      guest.write<uint16_t>(kData + 0x80, 0x37f);
      FpuImage& fpu = guest.cpu.state().fpu;
      pointers(fpu);
      run(guest, c.code);
      const bool sets = c.fop && vendor == Vendor::Amd;
      expectEqual(fpu.fip, c.fop ? Guest::kCode : 0x12345678, std::string("FIP after ") + c.name);
      expectEqual(fpu.fop, sets ? c.fop : 0x5a5, std::string("FOP after ") + c.name);
      expectEqual(fpu.fdp, sets && c.memory ? kData + 0x80 : 0x9abcdef0, std::string("FDP after ") + c.name);
    }
  }
}

// ---- FXSAVE, XSAVE --------------------------------------------------------------------------------------------------

constexpr uint64_t kXmmOffset = 160;

void fxsaveForms() {
  struct {
    Start start;
    std::vector<uint8_t> code;  // FXSAVE [4000h]
    unsigned registers;
    uint64_t fip;
    Vendor vendor = Vendor::Intel;
    bool pending =
        false;  // an exception that is not masked, for whose pointers alone AMD's processors have an interest
  } const kForms[] = {
      {Start::Real, {0x0f, 0xae, 0x06, 0x00, 0x40}, 8, 0x12345678},
      {Start::Protected32, {0x0f, 0xae, 0x05, 0x00, 0x40, 0x00, 0x00}, 8, 0x12345678},
      {Start::Long, {0x0f, 0xae, 0x04, 0x25, 0x00, 0x40, 0x00, 0x00}, 16, 0x12345678},
      {Start::Long, {0x48, 0x0f, 0xae, 0x04, 0x25, 0x00, 0x40, 0x00, 0x00}, 16, 0x7fff12345678},
      {Start::Real, {0x0f, 0xae, 0x06, 0x00, 0x40}, 8, 0, Vendor::Amd},
      {Start::Real, {0x0f, 0xae, 0x06, 0x00, 0x40}, 8, 0x12345678, Vendor::Amd, true},
      {Start::Long, {0x48, 0x0f, 0xae, 0x04, 0x25, 0x00, 0x40, 0x00, 0x00}, 16, 0, Vendor::Amd},
      {Start::Long, {0x48, 0x0f, 0xae, 0x04, 0x25, 0x00, 0x40, 0x00, 0x00}, 16, 0x7fff12345678, Vendor::Amd, true},
  };
  for (const auto& form : kForms) {
    Guest guest(form.start, form.vendor);
    State& s = guest.cpu.state();
    s.cr4 |= kSse;
    pointers(s.fpu);
    s.fpu.fip = 0x7fff12345678;
    if (form.pending) s.fpu.fcw = 0x37e, s.fpu.fsw |= 0x8081;
    for (unsigned i = 0; i < 16; ++i) s.fpu.xmm[i] = {{i + 1, ~uint64_t{i}}};
    run(guest, form.code);
    expectEqual(guest.read<uint64_t>(kData + 8), form.fip, "FIP of FXSAVE");
    expectEqual(guest.read<uint32_t>(kData + 28), 0xffff, "MXCSR_MASK of FXSAVE");
    for (unsigned i = 0; i < 16; ++i) {
      expectEqual(guest.read<uint64_t>(kData + kXmmOffset + 16 * i), i < form.registers ? i + 1 : 0, "XMM of FXSAVE");
    }
    // FXRSTOR
    std::vector<uint8_t> load = form.code;
    load[load[0] == 0x48 ? 3 : 2] |= 1 << 3;
    for (auto& xmm : s.fpu.xmm) xmm = {};
    run(guest, load);
    for (unsigned i = 0; i < 16; ++i)
      expectEqual(s.fpu.xmm[i].lane[0], i < form.registers ? i + 1 : 0, "XMM of FXRSTOR");
  }
}

void fastFxsave() {
  Guest guest(Start::Long);
  State& s = guest.cpu.state();
  s.cr4 |= kSse;
  s.efer |= kFFXSR;
  pointers(s.fpu);
  s.fpu.xmm[0].lane[0] = 1;
  run(guest, {0x0f, 0xae, 0x04, 0x25, 0x00, 0x40, 0x00, 0x00});
  expectEqual(guest.read<uint64_t>(kData + kXmmOffset), 0, "XMM0 of a fast FXSAVE");
  expectEqual(guest.read<uint16_t>(kData + 2), 0x3800, "FSW of a fast FXSAVE");
}

void xsaveComponents() {
  Guest guest(Start::Long);
  State& s = guest.cpu.state();
  s.cr4 |= kSse | kOSXSAVE;
  s.xcr0 = 3;
  s.gpr[RAX] = 2;
  s.gpr[RDX] = 0;
  pointers(s.fpu);
  s.fpu.xmm[9].lane[1] = 0x1234;
  constexpr uint64_t kHeader = kData + 512;
  guest.write<uint8_t>(kHeader, 1);
  run(guest, {0x0f, 0xae, 0x24, 0x25, 0x00, 0x40, 0x00, 0x00});  // xsave [4000h]
  expectEqual(guest.read<uint16_t>(kData), 0, "FCW of XSAVE without x87");
  expectEqual(guest.read<uint32_t>(kData + 24), 0x1f80, "MXCSR of XSAVE");
  expectEqual(guest.read<uint64_t>(kData + kXmmOffset + 9 * 16 + 8), 0x1234, "XMM9 of XSAVE");
  expectEqual(guest.read<uint64_t>(kHeader), 3, "XSTATE_BV");
  // One in its initial state is not in use.
  s.fpu.xmm[9] = {};
  run(guest, {0x0f, 0xae, 0x24, 0x25, 0x00, 0x40, 0x00, 0x00});
  expectEqual(guest.read<uint64_t>(kHeader), 1, "XSTATE_BV without SSE");
  expectEqual(guest.read<uint64_t>(kData + kXmmOffset + 9 * 16 + 8), 0, "XMM9, stored all the same");
  // A component that is asked for and not given gets its initial state.
  s.gpr[RAX] = 3;
  s.fpu.xmm[9].lane[1] = 0x1234;
  guest.write<uint8_t>(kHeader, 0);
  run(guest, {0x0f, 0xae, 0x2c, 0x25, 0x00, 0x40, 0x00, 0x00});  // xrstor [4000h]
  expectEqual(s.fpu.fcw, 0x37f, "initial FCW");
  expectEqual(s.fpu.ftw, 0, "initial FTW");
  expectEqual(s.fpu.fsw, 0, "initial FSW");
  expectEqual(s.fpu.xmm[9].lane[1], 0, "initial XMM9");
}

}  // namespace

int main() {
  traps();
  environments();
  savedState();
  lastInstruction();
  fxsaveForms();
  fastFxsave();
  xsaveComponents();
  std::printf("fpu_test: %d checks, %d failures\n", checks, failures);
  return failures != 0;
}
