// The oracle of the software CPU: the host's own. Random instructions of user mode run on both, and everything that
// user mode can see afterwards is compared.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "oracle_compare.h"
#include "oracle_generate.h"
#include "oracle_guest.h"
#include "oracle_native.h"
#include "oracle_table.h"

namespace nvmm::oracle {
namespace {

constexpr const char* kUsage =
    "usage: oracle [--seed N] [--cases N] [--first N] [--bits 16|32|64] [--family NAME] [--verbose]\n"
    "Compares the software CPU with this host's CPU in user mode, on random instructions.\n"
    "  --seed N       where the random cases come from (1)\n"
    "  --cases N      how many (100000)\n"
    "  --first N      the number of the first (0): with --cases 1 a failure alone\n"
    "  --bits N       the size of the code segment; by default all three in turn\n"
    "  --family NAME  only this family of instructions, or bytes, or mutated\n"
    "  --verbose      every failure, and how often undefined flags and results differ\n";

constexpr int kSkipped = 77;

struct Options {
  Plan plan;
  uint64_t cases = 100000, first = 0;
  unsigned bits = 0;  // 0: all
  bool verbose = false;
};

struct Counts {
  uint64_t passed = 0, failed = 0;
  // The host's outcome was another one at first: at a switch to another process, AMD's processors lose the pointers of
  // an x87 without a pending exception.
  uint64_t unsteady = 0;

  Counts& operator+=(const Counts& c) {
    passed += c.passed, failed += c.failed, unsteady += c.unsteady;
    return *this;
  }
};

// What an undefined flag or result was found on.
struct UndefinedCounts {
  uint64_t cases = 0, flags[16] = {}, results = 0;
};

std::string disassemble(const Case& c) {
  char path[] = "/tmp/oracle.XXXXXX";
  std::string text;
  int fd = mkstemp(path);
  if (fd < 0) return text;
  FILE* file = fdopen(fd, "wb");
  std::fwrite(c.code, 1, c.length, file);
  std::fclose(file);
  const char* machine = c.bits == 64 ? "i386:x86-64" : c.bits == 32 ? "i386" : "i8086";
  std::string command = std::string("objdump -D -b binary -M intel -m ") + machine + " " + path + " 2>/dev/null";
  if (FILE* pipe = popen(command.c_str(), "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, pipe))
      if (std::strchr(line, '\t')) text += std::string("    ") + line;
    pclose(pipe);
  }
  std::remove(path);
  return text;
}

class Oracle {
 public:
  explicit Oracle(const Options& options)
      : options_(options),
        initial_(initialMemory(options.plan.seed)),
        native_(initial_),
        guest_(initial_, native_.hasLocalSegments()) {
    options_.plan.localSegments = native_.hasLocalSegments();
    options_.plan.wideFrom16 = hostModel().vendor == cpu::Vendor::Intel;  // AMD's may hang under Linux then
  }

  bool hasLocalSegments() const { return native_.hasLocalSegments(); }
  Counts run(unsigned bits);

 private:
  // Of one case alone.
  Comparison check(const Case& c);
  Case minimise(const Case& c, const std::string& field);
  void report(const Case& c, uint64_t index, const char* family);
  void tally(const Case& c, const Comparison& result);

  Options options_;
  const Memory initial_;
  Native native_;
  Guest guest_;
  Outcome outcome_;  // of the guest
  std::set<std::string> reported_;
  std::map<std::string, UndefinedCounts> undefined_;
};

Comparison Oracle::check(const Case& c) {
  Batch& batch = native_.batch();
  batch.cases[0] = c;
  batch.count = 1;
  native_.start();
  guest_.run(c, outcome_);
  native_.wait();
  return compare(c, initial_, batch.outcomes[0], outcome_);
}

// A simpler case whose first difference is in the same field.
Case Oracle::minimise(const Case& original, const std::string& field) {
  Case best = original;
  bool better = true;
  auto attempt = [&](const Case& candidate) {
    // Padding that differs costs an attempt, no more.
    if (std::memcmp(&candidate, &best, sizeof best) == 0) return;  // NOLINT(bugprone-suspicious-memory-comparison)
    if (!admissible(candidate)) return;
    const Comparison result = check(candidate);
    if (result.differences.empty() || result.differences[0].field.substr(0, 6) != field.substr(0, 6)) return;
    best = candidate;
    better = true;
  };
  while (better) {
    better = false;
    for (unsigned at = 0; at < best.length;) {  // without one instruction of a sequence, without one prefix
      const unsigned length = decode(best.code + at, best.length - at, best.bits).length;
      for (unsigned cut : {length, 1u}) {
        if (cut >= best.length || at + cut > best.length || best.singleStep) continue;
        Case c = best;
        std::memmove(c.code + at, c.code + at + cut, c.length - at - cut);
        c.length = static_cast<uint8_t>(c.length - cut);
        std::memset(c.code + c.length, 0, sizeof c.code - c.length);
        attempt(c);
      }
      at += std::max(length, 1u);
    }
    if (best.singleStep) {
      Case c = best;
      c.length = std::min(decode(c.code, c.length, c.bits).length, c.length);
      std::memset(c.code + c.length, 0, sizeof c.code - c.length);
      attempt(c);
      if (decode(best.code, best.length, best.bits).length == best.length && best.length > 1) {
        c = best;
        c.singleStep = false;
        attempt(c);
      }
    }
    for (int i = 0; i < 16; i++)
      for (uint64_t value : {uint64_t{0}, uint64_t{1}, best.gpr[i] & 0xff}) {
        Case c = best;
        if (c.gpr[i] <= value) break;
        c.gpr[i] = value;
        attempt(c);
      }
    for (unsigned bit = 0; bit < 22; bit++) {
      Case c = best;
      c.rflags &= ~(uint64_t{1} << bit) | cpu::kFlagsFixed | cpu::kIF;
      attempt(c);
    }
    Case c = best;
    c.patchLength = 0;
    attempt(c);
    c = best;
    c.rip = kCode + 0x800;
    attempt(c);
    for (int i : {Seg::ES, Seg::SS, Seg::DS, Seg::GS}) {
      c = best;
      c.selector[i] = i == Seg::GS ? 0 : kData32;
      attempt(c);
    }
  }
  return best;
}

void Oracle::report(const Case& original, uint64_t index, const char* family) {
  Comparison result = check(original);
  if (result.differences.empty()) {
    std::printf("case %llu (%s) differed in its batch, not alone\n", static_cast<unsigned long long>(index), family);
    return;
  }
  const Case c = minimise(original, result.differences[0].field);
  result = check(c);
  if (result.differences.empty()) return;
  const Decoded first = decode(c.code, c.length, c.bits);
  const std::string name = first.row ? first.row->name : "?";
  const std::string key = std::to_string(c.bits) + name + result.differences[0].field.substr(0, 6);
  if (!reported_.insert(key).second && !options_.verbose) return;
  std::printf("\n%s: case %llu of seed %llu, %u bits%s\n  bytes", family, static_cast<unsigned long long>(index),
              static_cast<unsigned long long>(options_.plan.seed), c.bits, c.singleStep ? ", single step" : "");
  for (unsigned i = 0; i < c.length; i++) std::printf(" %02x", c.code[i]);
  std::printf(" at %s\n%s  with", hex(c.rip).c_str(), disassemble(c).c_str());
  constexpr const char* kNames[] = {"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI",
                                    "8",  "9",  "10", "11", "12", "13", "14", "15"};
  for (int i = 0; i < 16; i++)
    if (c.gpr[i]) std::printf(" R%s=%s", kNames[i], hex(c.gpr[i]).c_str());
  std::printf(" flags %s; ES=%x SS=%x DS=%x GS=%x", flagNames(c.rflags).c_str(), c.selector[Seg::ES],
              c.selector[Seg::SS], c.selector[Seg::DS], c.selector[Seg::GS]);
  if (c.patchLength) {
    std::printf("; [%s]=", hex(c.patchAddress).c_str());
    for (unsigned i = 0; i < c.patchLength; i++) std::printf("%02x", c.patch[i]);
  }
  std::printf("\n");
  for (const Difference& d : result.differences)
    std::printf("  %-12s host %-40s ours %s\n", d.field.c_str(), d.native.c_str(), d.guest.c_str());
  std::fflush(stdout);
}

void Oracle::tally(const Case& c, const Comparison& result) {
  const Decoded first = decode(c.code, c.length, c.bits);
  if (!first.row || first.length != c.length) return;
  UndefinedCounts& counts = undefined_[first.row->name];
  counts.cases++;
  counts.results += result.undefinedResult;
  for (unsigned i = 0; i < 16; i++) counts.flags[i] += result.undefinedFlags >> i & 1;
}

Counts Oracle::run(unsigned bits) {
  options_.plan.bits = bits;
  std::map<std::string, Counts> counts;
  Counts total;
  Batch& batch = native_.batch();
  const char* families[Batch::kCapacity];
  auto outcomes = std::make_unique<Outcome[]>(Batch::kCapacity);
  for (uint64_t done = 0; done < options_.cases;) {
    const auto n = static_cast<unsigned>(std::min<uint64_t>(Batch::kCapacity, options_.cases - done));
    for (unsigned i = 0; i < n; i++) batch.cases[i] = generate(options_.plan, options_.first + done + i, families[i]);
    batch.count = n;
    native_.start();
    for (unsigned i = 0; i < n; i++) guest_.run(batch.cases[i], outcomes[i]);
    native_.wait();
    unsigned differing[Batch::kCapacity], differences = 0;
    Difference first[Batch::kCapacity];
    for (unsigned i = 0; i < n; i++) {
      const Comparison result = compare(batch.cases[i], initial_, batch.outcomes[i], outcomes[i]);
      if (options_.verbose) tally(batch.cases[i], result);
      if (result.differences.empty()) {
        counts[families[i]].passed++;
      } else {
        first[differences] = result.differences[0];
        differing[differences++] = i;
      }
    }
    unsigned failed[Batch::kCapacity], failures = 0;
    if (differences) {
      native_.start();
      native_.wait();
    }
    for (unsigned i = 0; i < differences; i++) {
      const unsigned which = differing[i];
      const Comparison again = compare(batch.cases[which], initial_, batch.outcomes[which], outcomes[which]);
      Counts& family = counts[families[which]];
      if (again.differences.empty()) {
        family.unsteady++;
        const uint64_t number = options_.first + done + which;
        std::printf("unsteady: case %llu of seed %llu, %u bits: %s was %s on the host at first, then %s\n",
                    static_cast<unsigned long long>(number), static_cast<unsigned long long>(options_.plan.seed), bits,
                    first[i].field.c_str(), first[i].native.c_str(), first[i].guest.c_str());
      } else {
        family.failed++;
        failed[failures++] = which;
      }
    }
    if (failures) {  // reporting uses the batch
      Case cases[Batch::kCapacity];
      std::memcpy(cases, batch.cases, sizeof cases);
      for (unsigned i = 0; i < failures; i++)
        report(cases[failed[i]], options_.first + done + failed[i], families[failed[i]]);
    }
    done += n;
  }

  std::printf("\n%u-bit code        passed     failed\n", bits);
  for (const auto& [family, count] : counts) {
    std::printf("  %-14s %9llu  %9llu\n", family.c_str(), static_cast<unsigned long long>(count.passed),
                static_cast<unsigned long long>(count.failed));
    total += count;
  }
  if (options_.verbose) {
    std::printf("Undefined, and different from the host (of single instructions):\n");
    for (const auto& [name, u] : undefined_) {
      std::string text;
      for (unsigned i = 0; i < 16; i++)
        if (u.flags[i]) text += " " + flagNames(uint64_t{1} << i) + " " + std::to_string(u.flags[i]);
      if (u.results) text += " result " + std::to_string(u.results);
      if (!text.empty())
        std::printf("  %-10s of %llu:%s\n", name.c_str(), static_cast<unsigned long long>(u.cases), text.c_str());
    }
    undefined_.clear();
  }
  return total;
}

[[noreturn]] void usage() {
  std::fputs(kUsage, stderr);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--verbose") {
      options.verbose = true;
      continue;
    }
    if (i + 1 == argc) usage();
    const char* value = argv[++i];
    if (name == "--family") {
      options.plan.family = value;
      continue;
    }
    char* end;
    const uint64_t number = std::strtoull(value, &end, 0);
    if (*end || end == value) usage();
    if (name == "--seed")
      options.plan.seed = number;
    else if (name == "--cases")
      options.cases = number;
    else if (name == "--first")
      options.first = number;
    else if (name == "--bits" && (number == 16 || number == 32 || number == 64))
      options.bits = static_cast<unsigned>(number);
    else
      usage();
  }
  return options;
}

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (const char* reason = Native::unavailable()) {
    std::printf("oracle: skipped: %s\n", reason);
    return kSkipped;
  }
  Oracle oracle(options);
  Counts total;
  for (unsigned bits : {64u, 32u, 16u}) {
    if (options.bits && options.bits != bits) continue;
    if (!options.plan.family.empty() && !knownFamily(options.plan.family, bits)) continue;
    if (bits == 16 && !oracle.hasLocalSegments()) {
      std::printf("16-bit code: skipped: no local descriptor table on this host\n");
      continue;
    }
    total += oracle.run(bits);
  }
  std::printf("\n%llu passed, %llu failed", static_cast<unsigned long long>(total.passed),
              static_cast<unsigned long long>(total.failed));
  if (total.unsteady) std::printf(", %llu unsteady", static_cast<unsigned long long>(total.unsteady));
  std::printf("\n");
  return total.failed ? 1 : 0;
}

}  // namespace
}  // namespace nvmm::oracle

int main(int argc, char** argv) { return nvmm::oracle::main(argc, argv); }
