// HostCalls: the host functions that are queued on a lane, in their order, until they have been called.
//
// Each is called once: by the thread that the device calls it from when its turn comes, or, where the device has failed
// and calls nothing any more, by CallRest. Once as many as are ever queued at a time have been made, nothing is
// allocated. Used by the lane's queueing thread, but for Run.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/core/lane_work.h"

namespace triforce {

class HostCalls {
 public:
  struct Call {
    void (*function)(void* context) = nullptr;
    void* context = nullptr;
    std::shared_ptr<LaneWork> work;  // which fails with what the function throws
    int64_t number = 0;              // of it in `work`
  };

  // Queues a call; Run is to be called with what is returned when its turn comes.
  void* Add(Call call);
  // Calls it, unless that has been done. From any thread; throws nothing.
  static void Run(void* queued);

  // Whether there are calls that have not ended.
  bool pending();
  // Calls all that nobody has begun, in their order. REQUIRES: the device calls none of them any more, or does not
  // mind.
  void CallRest();

 private:
  enum State : int { kQueued, kRunning, kDone };
  struct Node {
    Call call;
    std::atomic<int> state{kDone};
    Node* next = nullptr;
  };

  void Reclaim();  // those at the front that are done

  std::vector<std::unique_ptr<Node>> nodes_;
  Node* free_ = nullptr;
  Node* first_ = nullptr;  // the queue, oldest first
  Node* last_ = nullptr;
};

}  // namespace triforce
