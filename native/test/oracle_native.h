// The host's own CPU as an executor of cases, in a child process that may die of them.
#pragma once

#include <sys/types.h>

#include <atomic>

#include "oracle_case.h"

namespace nvmm::oracle {

struct Batch {
  static constexpr unsigned kCapacity = 64;
  std::atomic<uint32_t> done;  // cases that have their outcome
  uint32_t count;
  Case cases[kCapacity];
  Outcome outcomes[kCapacity];
};

class Native {
 public:
  static const char* unavailable();  // why this host cannot do it, or null

  explicit Native(const Memory& initial);
  ~Native();
  Native(const Native&) = delete;
  Native& operator=(const Native&) = delete;

  bool hasLocalSegments() const { return hasLocalSegments_; }

  // Fill in cases and count, start, do something else, wait, read outcomes.
  Batch& batch() { return *batch_; }
  void start();
  void wait();

 private:
  void spawn();
  void reap();

  const Memory& initial_;
  Batch* batch_;
  bool hasLocalSegments_;
  pid_t child_ = -1;
  int channel_ = -1;
};

// XCR0; 0: the host has no XSAVE, or does not use it.
uint64_t hostComponents();

// What LAR and LSL tell of the descriptor behind a selector; false where the host hides it from user mode.
bool describeSelector(uint16_t selector, uint32_t& rights, uint32_t& limit);

}  // namespace nvmm::oracle
