// One VCPU: the comm page protocol, and the run loop. All but flushMemory() under the VCPU's lock.
#pragma once

#include <cstdint>
#include <memory>

#include "backend.h"
#include "kicks.h"
#include "statistics.h"

namespace nvmm::mock {

// What all VCPUs of a device have in common.
struct Host {
  const cpu::Model& model;
  const Options& options;
  Kicks& kicks;
  Statistics& statistics;
};

class Vcpu {
 public:
  // Clears the comm page, and writes the reset state to it.
  Vcpu(const Host& host, const Backend::Setup& setup);
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  void setState();
  void getState();
  int inject() { return backend_->inject(); }
  // `fault`: one that this run is to meet, or null.
  int run(abi::nvmm_x86_exit& exit, const Fault* fault);

  Backend& backend() { return *backend_; }

 private:
  void commit();
  int enterGuest(abi::nvmm_x86_exit& exit, const Kicks::Counter& kicks, uint32_t kicked, const Fault* fault);
  bool preempted(const Kicks::Counter& kicks, uint32_t kicked, uint64_t& reason) const;
  uint64_t takeWanted();

  const Host host_;
  const bool stoppable_;  // version 2
  CommPage& comm_;
  const std::unique_ptr<Backend> backend_;
  VcpuCounters counters_;
};

}  // namespace nvmm::mock
