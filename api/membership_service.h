// MembershipService: asks the running tasks who is in which segment, and follows the committed
// changes.
#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"

#include "api/access.h"
#include "state/change_feed.h"
#include "state/definition_log.h"
#include "state/queries.h"

namespace grpc {
class Service;
}

namespace segmentd {

inline constexpr int kMaxUserIdBytes = 1024;
inline constexpr int kMaxBatchPairs = 1000;
inline constexpr int kMaxCountedSegments = 2500;
// User IDs in one response of ListMembers.
inline constexpr int kMaxMembersPage = 1000;

// Streams at once; each holds one of the server's threads.
struct StreamLimits {
  int watches = 64;
  int listings = 16;
};

// Any thread may call the handlers.
class MembershipService {
 public:
  // `clock` is the wall clock. The others outlive the service.
  MembershipService(Queries& queries, const DefinitionLog& definitions, ChangeFeed& changes,
                    std::function<absl::Time()> clock, const Access& access,
                    StreamLimits limits = {});
  ~MembershipService();

  // Ends the streams, and refuses further ones, with UNAVAILABLE: their clients go on elsewhere or
  // later.
  void EndStreams();

  // For the server, which the service outlives.
  grpc::Service& handlers();

 private:
  class Handlers;
  std::unique_ptr<Handlers> handlers_;
};

}  // namespace segmentd
