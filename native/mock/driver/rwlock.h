// A readers/writer lock that waits as NetBSD's does: as soon as a writer waits, new readers wait behind it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace nvmm::mock {

// To be held through std::unique_lock and std::shared_lock. Without a writer in sight a reader costs two atomic
// operations.
class RwLock {
 public:
  void lock_shared() {
    uint32_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      if (state < kWriter) {
        if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) return;
        continue;
      }
      std::unique_lock<std::mutex> guard(mutex_);
      changed_.wait(guard, [&] { return (state = state_.load(std::memory_order_relaxed)) < kWriter; });
    }
  }

  void unlock_shared() {
    const uint32_t state = state_.fetch_sub(1, std::memory_order_release);
    if (state > kWriter && state % kWriter == 1) wake();  // the last reader, and a writer waits
  }

  // In one order with all else that caller and writers do sequentially consistently.
  bool writerInSight() const { return state_.load() >= kWriter; }

  void lock() {
    std::unique_lock<std::mutex> guard(mutex_);
    state_.fetch_add(kWriter);
    changed_.wait(guard, [&] { return !written_ && state_.load(std::memory_order_acquire) % kWriter == 0; });
    written_ = true;
  }

  bool try_lock() {
    std::lock_guard<std::mutex> guard(mutex_);
    uint32_t free = 0;
    if (!state_.compare_exchange_strong(free, kWriter)) return false;
    written_ = true;
    return true;
  }

  void unlock() {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      written_ = false;
      state_.fetch_sub(kWriter, std::memory_order_release);
    }
    changed_.notify_all();
  }

 private:
  static constexpr uint32_t kWriter = 0x10000;

  void wake() {
    // Whoever tested its condition before the change is asleep once the mutex can be had.
    { std::lock_guard<std::mutex> guard(mutex_); }
    changed_.notify_all();
  }

  std::atomic<uint32_t> state_{0};  // readers + kWriter * (writers that hold or wait)
  std::mutex mutex_;
  std::condition_variable changed_;
  bool written_ = false;
};

}  // namespace nvmm::mock
