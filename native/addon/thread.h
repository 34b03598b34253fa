// Threads of our own, which Node knows nothing of.
#pragma once

#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace nvmm {

// How long the end of an environment waits for a thread. Only a driver that lets go of nothing takes longer: the thread
// is left to itself then, with all that it uses.
constexpr auto kPatience = std::chrono::seconds(2);

// Signals to the process belong to the threads of Node: while one of these exists, this thread, and those that it
// makes, get none, but for `allowed`.
class BlockedSignals {
 public:
  explicit BlockedSignals(int allowed = 0);
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t previous_;
};

class Thread {
 public:
  // Only kicks reach it. What `body` uses it must own. Throws std::system_error if no thread is to be had.
  explicit Thread(std::function<void()> body);
  // True if the thread has ended in time.
  bool join(std::chrono::milliseconds patience);

 private:
  struct End {
    std::mutex lock;
    std::condition_variable reached;
    bool isReached = false;
  };
  const std::shared_ptr<End> end_ = std::make_shared<End>();
  std::thread thread_;
};

}  // namespace nvmm
