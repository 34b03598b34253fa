// The locks of one machine, as NetBSD's driver has them: a readers/writer lock, and a mutex of each VCPU that is taken
// by readers. A run takes both, and most find nobody in the way: those take the VCPU alone, with one compare-exchange
// and a store, and a writer waits until no VCPU is taken.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "../../abi/nvmm.h"
#include "rwlock.h"

namespace nvmm::mock {

// To be held through std::unique_lock and std::shared_lock, as the readers/writer lock; or through VcpuLock.
class MachineLock {
 public:
  void lock() {
    readers_.lock();
    if (!vcpus_) return;
    for (Word& vcpu : *vcpus_) {
      while (vcpu.state.load() != kFree) await(vcpu);
    }
  }

  bool try_lock() {
    if (!readers_.try_lock()) return false;
    if (vcpus_) {
      for (Word& vcpu : *vcpus_) {
        if (vcpu.state.load() == kFree) continue;
        readers_.unlock();
        return false;
      }
    }
    return true;
  }

  void unlock() { readers_.unlock(); }
  void lock_shared() { readers_.lock_shared(); }
  void unlock_shared() { readers_.unlock_shared(); }

  // By the writer, before the first VCPU may be asked for: most machines of a system never exist.
  void prepareVcpus() {
    if (vcpus_) return;
    vcpus_ = std::make_unique<Words>();
    published_.store(vcpus_.get());
  }

 private:
  friend class VcpuLock;

  enum : uint32_t { kFree, kTaken, kAwaited };
  struct alignas(64) Word {
    std::atomic<uint32_t> state{kFree};
  };
  using Words = std::array<Word, abi::NVMM_MAX_VCPUS>;

  static bool take(Word& vcpu) {
    uint32_t free = kFree;
    return vcpu.state.compare_exchange_strong(free, kTaken);
  }

  void release(Word& vcpu) {
    const bool awaited = vcpu.state.load(std::memory_order_relaxed) == kAwaited;
    vcpu.state.store(kFree, std::memory_order_release);
    if (!awaited) return;
    // Whoever tested the state before it changed is asleep once the mutex can be had.
    { std::lock_guard<std::mutex> guard(mutex_); }
    released_.notify_all();
  }

  // Until the VCPU has been released, or for a millisecond: a release in the very moment of the mark overlooks it.
  void await(Word& vcpu) {
    std::unique_lock<std::mutex> guard(mutex_);
    uint32_t taken = kTaken;
    vcpu.state.compare_exchange_strong(taken, kAwaited);
    released_.wait_for(guard, std::chrono::milliseconds(1), [&] { return vcpu.state.load() == kFree; });
  }

  RwLock readers_;
  std::unique_ptr<Words> vcpus_;            // never taken away again
  std::atomic<Words*> published_{nullptr};  // the same, for those without a lock
  std::mutex mutex_;
  std::condition_variable released_;
};

// A reader that has a VCPU for itself, whether or not that exists; a mere reader where there is no machine or the
// number is beyond all.
class VcpuLock {
 public:
  VcpuLock(MachineLock& machine, uint32_t cpuid) : machine_(machine) {
    vcpu_ = find(cpuid);
    if (vcpu_ && MachineLock::take(*vcpu_)) {
      // The writer looks at the VCPUs after it has shown itself, we for the writer after having taken ours.
      if (!machine.readers_.writerInSight()) return;
      machine.release(*vcpu_);
    }
    machine.lock_shared();
    shared_ = true;
    vcpu_ = find(cpuid);
    while (vcpu_ && !MachineLock::take(*vcpu_)) machine.await(*vcpu_);
  }

  ~VcpuLock() {
    if (vcpu_) machine_.release(*vcpu_);
    if (shared_) machine_.unlock_shared();
  }

  VcpuLock(const VcpuLock&) = delete;
  VcpuLock& operator=(const VcpuLock&) = delete;

 private:
  MachineLock::Word* find(uint32_t cpuid) const {
    auto* vcpus = machine_.published_.load(std::memory_order_acquire);
    return vcpus && cpuid < vcpus->size() ? &(*vcpus)[cpuid] : nullptr;
  }

  MachineLock& machine_;
  MachineLock::Word* vcpu_;
  bool shared_ = false;
};

}  // namespace nvmm::mock
