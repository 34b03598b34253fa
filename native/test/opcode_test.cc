// Tests made from the opcode table: each of its rows is encoded in every code size, with a register and a memory
// operand, with and without 66 and REX.W. Each encoding
// - is decoded to that row, in its full length, where the row exists, and to #UD where it does not;
// - raises #UD with a LOCK that it does not take;
// - is executed in random states by the host's CPU as well, and compared, where user mode may execute it; else by the
//   software CPU alone, at privilege 0: those rows are listed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "guest.h"
#include "mock/cpu/core.h"
#include "mock/cpu/decode.h"
#include "mock/cpu/opcodes.h"
#include "oracle_compare.h"
#include "oracle_generate.h"
#include "oracle_guest.h"
#include "oracle_native.h"
#include "oracle_table.h"

namespace nvmm {
namespace {

using cpu::Form;
using cpu::Insn;
using cpu::kNone;
using cpu::Map;
using cpu::Opcode;
using cpu::Prefix;
using cpu::Register;

constexpr unsigned kBits[] = {64, 32, 16};

struct Encoding {
  const Opcode* row;
  unsigned bits;
  bool memory, operand16, rexW, lock;
  std::vector<uint8_t> bytes;
};

std::string name(const Encoding& e) {
  std::string text = std::string(e.row->mnemonic) + (*e.row->operands ? " " : "") + e.row->operands + " in " +
                     std::to_string(e.bits) + " bits:";
  for (uint8_t byte : e.bytes) text += (byte < 16 ? " 0" : " ") + oracle::hex(byte);
  return text;
}

bool exists(const Opcode& row, unsigned bits) { return !(row.attributes & (bits == 64 ? cpu::kNo64 : cpu::kOnly64)); }

void put(std::vector<uint8_t>& bytes, uint64_t value, unsigned size) {
  for (unsigned i = 0; i < size; i++) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
}

// What the row's operation has for an operand size: of its immediates.
unsigned effectiveSize(const Encoding& e) {
  if (e.rexW) return 8;
  if (e.bits == 64 && e.row->attributes & cpu::kDefault64) return e.operand16 ? 2 : 8;
  return (e.operand16 != (e.bits == 16)) && !(e.row->attributes & cpu::kVex) ? 2 : 4;
}

void putModRm(Encoding& e) {
  const Opcode& row = *e.row;
  if (row.modrm != kNone) return put(e.bytes, static_cast<uint64_t>(row.modrm), 1);
  const unsigned reg = row.extension != kNone              ? static_cast<unsigned>(row.extension)
                       : row.form.reg == Register::Segment ? cpu::DS
                       : row.form.reg == Register::Control ? 2
                       : row.form.reg == Register::Debug   ? 0
                                                           : 1;
  if (!e.memory) return put(e.bytes, 0xc0 | reg << 3 | 2, 1);
  if (e.bits == 16) {
    put(e.bytes, reg << 3 | 6, 1);
    return put(e.bytes, oracle::kOperand - oracle::kWindow, 2);
  }
  put(e.bytes, reg << 3 | (e.bits == 64 ? 4 : 5), 1);
  if (e.bits == 64) put(e.bytes, 0x25, 1);  // SIB: neither base nor index
  put(e.bytes, oracle::kOperand, 4);
}

void encode(Encoding& e) {
  const Opcode& row = *e.row;
  const Form& form = row.form;
  const bool vex = row.attributes & cpu::kVex;
  constexpr uint64_t kImmediate = 0x4711223344556605;
  if (e.lock) put(e.bytes, 0xf0, 1);
  if (e.operand16 || (row.prefix == Prefix::P66 && !vex)) put(e.bytes, 0x66, 1);
  if (row.prefix == Prefix::F3 && !vex) put(e.bytes, 0xf3, 1);
  if (row.prefix == Prefix::F2 && !vex) put(e.bytes, 0xf2, 1);
  if (vex) {
    constexpr unsigned kSource = 3;
    put(e.bytes, 0xc4, 1);
    put(e.bytes, 0xe0 | static_cast<unsigned>(row.map), 1);
    put(e.bytes, e.rexW << 7 | (form.vexSource ? ~kSource & 15 : 15) << 3 | static_cast<unsigned>(row.prefix), 1);
  } else {
    if (e.rexW) put(e.bytes, 0x48, 1);
    if (row.map != Map::OneByte) put(e.bytes, 0x0f, 1);
    if (row.map == Map::Map38) put(e.bytes, 0x38, 1);
    if (row.map == Map::Map3A) put(e.bytes, 0x3a, 1);
  }
  put(e.bytes, row.opcode | (form.inOpcode ? 1u : 0u), 1);
  if (form.modrm) putModRm(e);
  if (form.offset) put(e.bytes, oracle::kOperand - (e.bits == 16 ? oracle::kWindow : 0), e.bits / 8);
  const unsigned effective = effectiveSize(e);
  for (char letter : form.immediate) {
    if (!letter) break;
    const unsigned size = letter == 'b' ? 1 : letter == 'w' ? 2 : letter == 'v' || effective == 2 ? effective : 4;
    put(e.bytes, form.relative ? 0x10 : kImmediate, size);
  }
}

// Whether REX.W makes it another row: CMPXCHG8B and CMPXCHG16B.
bool hasWideRow(const Opcode& row) {
  const auto [first, last] = cpu::opcodes(row.map, row.opcode);
  return std::any_of(first, last, [&](const Opcode& other) {
    return other.rexW && other.extension == row.extension && other.prefix == row.prefix;
  });
}

std::vector<Encoding> encodings(unsigned bits) {
  std::vector<Encoding> all;
  const auto [first, last] = cpu::opcodes();
  for (const Opcode* row = first; row != last; ++row) {
    const Form& form = row->form;
    const bool near = row->attributes & cpu::kNear && bits == 64;
    for (bool memory : {false, true}) {
      if (memory ? !form.modrm || form.registerOnly || row->modrm != kNone || row->attributes & cpu::kRegisterMod
                 : form.memoryOnly)
        continue;
      for (unsigned size = 0; size < 3; size++) {
        Encoding e = {row, bits, memory, size == 1, size == 2 || row->rexW, false, {}};
        if (e.rexW && bits != 64) continue;
        if (row->rexW && size) continue;
        if (e.rexW && !row->rexW && hasWideRow(*row)) continue;
        if (e.operand16 && (row->prefix != Prefix::Any || near)) continue;
        encode(e);
        all.push_back(e);
      }
    }
  }
  return all;
}

// The software CPU's decoder, and the CPU itself, in one code size.
class Decoding {
 public:
  Decoding(unsigned bits, cpu::Vendor vendor)
      : guest_(bits == 64   ? cpu::Start::Long
               : bits == 32 ? cpu::Start::Protected32
                            : cpu::Start::Protected16,
               vendor),
        core_(new cpu::Core(guest_.memory, cpu::model(vendor))) {
    cpu::State& s = guest_.cpu.state();
    s.cr4 |= cpu::kOSFXSR | cpu::kOSXMMEXCPT | cpu::kFSGSBASE | cpu::kOSXSAVE;
    core_->state = initial_ = s;
    core_->updateMode();
  }

  Insn decode(const std::vector<uint8_t>& bytes) {
    std::memset(guest_.memory.bytes() + cpu::Guest::kCode, 0xf4, 32);  // behind it HLT
    guest_.load(bytes.data(), bytes.size());
    cpu::CodeBytes code(*core_, cpu::Guest::kCode, guest_.memory.bytes() + cpu::Guest::kCode);
    Insn insn;
    bool ends;
    if (!cpu::decode(*core_, code, 0, true, insn, ends)) insn = {};
    return insn;
  }

  // At privilege 0, once. False: #UD for want of a row.
  bool executes(const std::vector<uint8_t>& bytes) {
    const uint64_t before = unknown();
    std::memset(guest_.memory.bytes(), 0xf4, 1 << 20);  // HLT, wherever it goes
    guest_.load(bytes.data(), bytes.size());
    guest_.cpu.state() = initial_;
    guest_.cpu.run(1);
    return unknown() == before;
  }

 private:
  uint64_t unknown() const {
    uint64_t sum = 0;
    for (const auto& count : guest_.cpu.unknownOpcodes()) sum += count;
    return sum;
  }

  cpu::Guest guest_;
  std::unique_ptr<cpu::Core> core_;
  cpu::State initial_;
};

// Whether a handler is one of the row's.
bool belongsTo(cpu::Handler handler, const Opcode& row) {
  if (row.execute.handler) return handler == row.execute.handler;
  for (const auto& size : row.execute.variants->handler)
    for (cpu::Handler each : size)
      if (each && each == handler) return true;
  return false;
}

class Test {
 public:
  Test(uint64_t seed, unsigned states) : seed_(seed), states_(states) {}

  int run() {
    const char* unavailable = oracle::Native::unavailable();
    if (unavailable) std::printf("not compared with the host: %s\n", unavailable);
    for (unsigned bits : kBits) {
      const std::vector<Encoding> all = encodings(bits);
      for (cpu::Vendor vendor : {cpu::Vendor::Amd, cpu::Vendor::Intel}) {
        Decoding decoding(bits, vendor);
        for (const Encoding& e : all) decodes(decoding, e);
      }
      encodings_ += all.size();
      if (!unavailable) compares(bits, all);
    }
    const auto [first, last] = cpu::opcodes();
    std::printf("%td rows of the opcode table, %llu encodings, %llu cases compared with the host\n", last - first,
                number(encodings_), number(cases_));
    if (!unavailable) {
      std::set<std::string> alone;
      for (const Opcode* row = first; row != last; ++row)
        if (!compared_.count(row)) alone.insert(row->mnemonic);
      std::printf("not for user mode, or different on each host, so executed by the software CPU alone:");
      for (const std::string& each : alone) std::printf(" %s", each.c_str());
      std::printf("\n");
    }
    std::printf("%llu failed\n", number(failures_));
    return failures_ ? 1 : 0;
  }

 private:
  static unsigned long long number(uint64_t value) { return value; }

  void fail(const Encoding& e, const std::string& what) {
    failures_++;
    std::printf("%s: %s\n", name(e).c_str(), what.c_str());
  }

  void decodes(Decoding& decoding, const Encoding& e) {
    const Insn insn = decoding.decode(e.bytes);
    if (!exists(*e.row, e.bits)) {
      // Other instructions have this encoding, or none: LES is VEX, for one.
      if (belongsTo(insn.handler, *e.row) && e.row->execute.handler != cpu::nop) fail(e, "exists in this code size");
      return;
    }
    if (!insn.handler) {
      fail(e, "cannot be decoded");
    } else if (!belongsTo(insn.handler, *e.row)) {
      fail(e, "is not decoded to its row");
    } else if (insn.length != e.bytes.size()) {
      fail(e, "has a length of " + std::to_string(insn.length));
    } else if (!decoding.executes(e.bytes)) {
      fail(e, "is not executed");
    }
    const bool lockable = e.row->attributes & cpu::kLock || hasLocked(*e.row, insn);
    Encoding locked = e;
    locked.lock = true;
    locked.bytes.clear();
    encode(locked);
    const Insn withLock = decoding.decode(locked.bytes);
    if (!(lockable && e.memory) && belongsTo(withLock.handler, *e.row) && withLock.handler != cpu::undefined)
      fail(locked, "takes LOCK");
  }

  static bool hasLocked(const Opcode& row, const Insn& insn) {
    if (!row.execute.variants) return false;
    for (const auto& size : row.execute.variants->handler)
      if ((size[0] == insn.handler || size[1] == insn.handler) && size[2]) return true;
    return false;
  }

  void compares(unsigned bits, const std::vector<Encoding>& all) {
    const oracle::Memory initial = oracle::initialMemory(seed_);
    oracle::Native native(initial);
    if (bits == 16 && !native.hasLocalSegments()) return;
    oracle::Guest guest(initial, native.hasLocalSegments());
    oracle::Plan plan;
    plan.seed = seed_;
    plan.bits = bits;
    plan.localSegments = native.hasLocalSegments();
    plan.wideFrom16 = oracle::hostModel().vendor == cpu::Vendor::Intel;
    oracle::Batch& batch = native.batch();
    auto outcomes = std::make_unique<oracle::Outcome[]>(oracle::Batch::kCapacity);
    uint64_t index = 0;
    std::set<const Opcode*> failed;
    for (const Encoding& e : all) {
      const oracle::Decoded d = oracle::decode(e.bytes.data(), static_cast<unsigned>(e.bytes.size()), bits);
      if (!exists(*e.row, bits) || !d.row || d.length != e.bytes.size()) continue;
      for (unsigned done = 0; done < states_; done += batch.count) {
        batch.count = 0;
        while (batch.count < std::min(states_ - done, oracle::Batch::kCapacity)) {
          const oracle::Case c =
              oracle::generateFor(plan, index++, e.bytes.data(), static_cast<unsigned>(e.bytes.size()));
          if (!oracle::admissible(c)) break;
          batch.cases[batch.count++] = c;
        }
        if (batch.count == 0) break;
        native.start();
        for (unsigned i = 0; i < batch.count; i++) guest.run(batch.cases[i], outcomes[i]);
        native.wait();
        compared_.insert(e.row);
        cases_ += batch.count;
        auto differences = [&](unsigned i) {
          return oracle::compare(batch.cases[i], initial, batch.outcomes[i], outcomes[i]).differences;
        };
        std::vector<unsigned> differing;
        for (unsigned i = 0; i < batch.count; i++)
          if (!differences(i).empty()) differing.push_back(i);
        if (differing.empty()) continue;
        native.start();  // once more: a switch to another process may have changed an outcome of the host's
        native.wait();
        for (unsigned i : differing) {
          const auto again = differences(i);
          if (again.empty() || !failed.insert(e.row).second) continue;
          fail(e, again[0].field + ": host " + again[0].native + ", ours " + again[0].guest);
        }
      }
    }
  }

  const uint64_t seed_;
  const unsigned states_;
  uint64_t encodings_ = 0, cases_ = 0, failures_ = 0;
  std::set<const Opcode*> compared_;
};

}  // namespace
}  // namespace nvmm

// opcode_test [SEED [STATES]]: random states for each encoding (32).
int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 1;
  const unsigned states = argc > 2 ? static_cast<unsigned>(std::strtoul(argv[2], nullptr, 0)) : 32;
  return nvmm::Test(seed, states).run();
}
