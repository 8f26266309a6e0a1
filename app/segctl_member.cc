// segctl member: check, list, count and explain.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"

#include "app/connection.h"
#include "app/console.h"
#include "app/help.h"
#include "app/segctl.h"
#include "proto/segments/v1/membership_service.grpc.pb.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

struct MemberOptions {
  std::string segment;
  std::vector<std::string> segments;
  std::string user;
  int64_t limit = 0;
};

template <typename Work>
ExitStatus WithServer(const GlobalOptions& global, Work work) {
  absl::StatusOr<Connection> connection = Connection::Open(global);
  if (!connection.ok()) return Complain(connection.status());
  const std::unique_ptr<pb::MembershipService::Stub> stub =
      pb::MembershipService::NewStub(connection->channel());
  return work(*connection, *stub);
}

// Sends the request; `show` says of the answer how the command ends.
template <typename Request, typename Response, typename Show>
ExitStatus Ask(const GlobalOptions& global, const Request& request,
               grpc::Status (pb::MembershipService::Stub::*method)(grpc::ClientContext*,
                                                                   const Request&, Response*),
               Show show) {
  return WithServer(global, [&](Connection& connection, pb::MembershipService::Stub& stub) {
    grpc::ClientContext context;
    connection.prepare(context);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    return status.ok() ? show(response) : connection.complain(status);
  });
}

// About a user and a segment.
template <typename Request>
Request RequestOf(const MemberOptions& options) {
  Request request;
  request.set_segment_id(options.segment);
  request.set_user_id(options.user);
  return request;
}

ExitStatus Check(const GlobalOptions& global, const MemberOptions& options) {
  const auto request = RequestOf<pb::IsMemberRequest>(options);
  const auto show = [&](const pb::IsMemberResponse& response) {
    if (global.json) {
      JsonObject object;
      object.boolean("member", response.member());
      if (response.has_since()) object.text("since", Moment(response.since()));
      Print(object.str() + "\n");
    } else if (response.member()) {
      Print(absl::StrCat(Paint("yes", Color::kGreen, stdout), ", since ", Moment(response.since()),
                         "\n"));
    } else {
      Print(absl::StrCat(Paint("no", Color::kRed, stdout), "\n"));
    }
    return response.member() ? kDone : kNo;
  };
  return Ask(global, request, &pb::MembershipService::Stub::IsMember, show);
}

// The segments that a user is in.
ExitStatus ListOfUser(const GlobalOptions& global, const MemberOptions& options) {
  pb::ListUserSegmentsRequest request;
  request.set_user_id(options.user);
  const auto show = [&](const pb::ListUserSegmentsResponse& response) {
    Table table({"ID", "NAME", "SINCE"});
    for (const pb::UserSegment& segment : response.segments()) {
      if (global.json) {
        Print(JsonObject()
                  .text("segment_id", segment.segment_id())
                  .text("segment_name", segment.segment_name())
                  .text("since", Moment(segment.since()))
                  .str() +
              "\n");
      }
      table.add({{segment.segment_id(), Color::kBold},
                 {segment.segment_name()},
                 {Moment(segment.since()), Color::kDim}});
    }
    if (table.empty()) return Complain(kNo, "the user is in no segment");
    if (!global.json) table.print(stdout);
    return kDone;
  };
  return Ask(global, request, &pb::MembershipService::Stub::ListUserSegments, show);
}

// The users that are in a segment.
ExitStatus ListOfSegment(const GlobalOptions& global, const MemberOptions& options) {
  return WithServer(global, [&](Connection& connection, pb::MembershipService::Stub& stub) {
    grpc::ClientContext context;
    connection.prepare(context, /*bounded=*/false);
    pb::ListMembersRequest request;
    request.set_segment_id(options.segment);
    request.set_limit(options.limit);
    const auto reader = stub.ListMembers(&context, request);
    pb::ListMembersResponse response;
    bool any = false;
    while (reader->Read(&response)) {
      for (const std::string& user : response.user_ids()) {
        any = true;
        Print(global.json ? JsonObject().text("user_id", user).str() + "\n" : user + "\n");
      }
    }
    const grpc::Status status = reader->Finish();
    if (!status.ok()) return connection.complain(status);
    if (!any) return Complain(kNo, "the segment has no members");
    return kDone;
  });
}

ExitStatus List(const GlobalOptions& global, const MemberOptions& options) {
  if (options.segment.empty() == options.user.empty()) {
    return Complain(kWrongUse,
                    "give a segment, to list its members, or --user, to list the user's segments");
  }
  return options.user.empty() ? ListOfSegment(global, options) : ListOfUser(global, options);
}

ExitStatus Count(const GlobalOptions& global, const MemberOptions& options) {
  pb::CountMembersRequest request;
  for (const std::string& id : options.segments) request.add_segment_ids(id);
  const auto show = [&](const pb::CountMembersResponse& response) {
    Table table;
    for (int i = 0; i < response.counts_size(); ++i) {
      const std::string& id = options.segments[static_cast<size_t>(i)];
      if (global.json) {
        Print(JsonObject().text("segment_id", id).number("members", response.counts(i)).str() +
              "\n");
      }
      table.add({{id, Color::kBold}, {Grouped(response.counts(i)), Color::kNone, true}});
    }
    if (!global.json) table.print(stdout);
    return kDone;
  };
  return Ask(global, request, &pb::MembershipService::Stub::CountMembers, show);
}

void PrintFinding(const pb::Finding& finding, const std::string& indent) {
  const std::string mark = !finding.has_holds() ? Paint("-", Color::kDim, stdout)
                           : finding.holds()    ? Paint("✓", Color::kGreen, stdout)
                                                : Paint("✗", Color::kRed, stdout);
  std::string text = finding.text();
  const auto say = [&](const char* word, const google::protobuf::Timestamp& at) {
    const std::string moment = Moment(at);
    if (text.find(moment) == std::string::npos) absl::StrAppend(&text, ", ", word, " ", moment);
  };
  if (finding.has_since()) say("since", finding.since());
  if (finding.has_until()) say("until", finding.until());
  Print(absl::StrCat(indent, mark, " ", text, "  ", Paint(finding.path(), Color::kDim, stdout),
                     "\n"));
  for (const pb::Finding& child : finding.children()) PrintFinding(child, indent + "  ");
}

std::string FindingJson(const pb::Finding& finding) {
  JsonObject object;
  object.text("path", finding.path()).text("text", finding.text());
  if (finding.has_holds()) object.boolean("holds", finding.holds());
  if (finding.has_value()) {
    std::string value;
    if (google::protobuf::util::MessageToJsonString(finding.value(), &value).ok()) {
      object.raw("value", value);
    }
  }
  if (finding.has_since()) object.text("since", Moment(finding.since()));
  if (finding.has_until()) object.text("until", Moment(finding.until()));
  if (finding.children_size() > 0) {
    std::vector<std::string> children;
    for (const pb::Finding& child : finding.children()) children.push_back(FindingJson(child));
    object.raw("children", JsonArray(children));
  }
  return object.str();
}

ExitStatus Explain(const GlobalOptions& global, const MemberOptions& options) {
  const auto request = RequestOf<pb::ExplainRequest>(options);
  const auto show = [&](const pb::Explanation& explanation) {
    if (global.json) {
      JsonObject object;
      object.text("segment_id", explanation.segment_id())
          .text("user_id", explanation.user_id())
          .number("segment_version", explanation.segment_version())
          .boolean("member", explanation.member());
      if (explanation.has_since()) object.text("since", Moment(explanation.since()));
      object.text("now", Moment(explanation.now())).raw("root", FindingJson(explanation.root()));
      Print(object.str() + "\n");
    } else {
      Print(absl::StrCat(Paint(explanation.user_id(), Color::kBold, stdout),
                         explanation.member() ? Paint(" is in ", Color::kGreen, stdout)
                                              : Paint(" is not in ", Color::kRed, stdout),
                         Paint(explanation.segment_id(), Color::kBold, stdout), " (version ",
                         explanation.segment_version(), ") at ", Moment(explanation.now()), "\n"));
      PrintFinding(explanation.root(), "");
    }
    return explanation.member() ? kDone : kNo;
  };
  return Ask(global, request, &pb::MembershipService::Stub::Explain, show);
}

}  // namespace

void AddMemberCommands(CLI::App& segctl, const GlobalOptions& global, Command* command) {
  CLI::App* member = segctl.add_subcommand("member", "Ask who is in which segment, and why");
  member->require_subcommand(0, 1);
  member->footer(
      "Examples:\n  segctl member check cart-left-behind u42\n"
      "  segctl member list cart-left-behind\n"
      "  segctl member explain cart-left-behind u42\n\n"
      "`segctl member COMMAND --help` tells more of each.\n");
  auto options = std::make_shared<MemberOptions>();
  using Run = ExitStatus (*)(const GlobalOptions&, const MemberOptions&);
  const auto add = [&](const char* name, const char* description, const char* examples, Run run) {
    CLI::App* added = member->add_subcommand(name, description);
    added->footer(examples);
    added->callback([options, &global, command, run] {
      *command = [options, &global, run] { return run(global, *options); };
    });
    return added;
  };
  const auto take_pair = [&](CLI::App* to) {
    to->add_option("segment", options->segment, "The segment's ID")->required();
    to->add_option("user", options->user, "The user's ID")->required();
  };

  take_pair(add("check", "Is this user in that segment? Exit status 0 yes, 1 no",
                "Examples:\n  segctl member check cart-left-behind u42 && echo yes\n"
                "  segctl member check cart-left-behind u42 --json | jq -r .since\n",
                Check));
  CLI::App* list = add("list", "Show the members of a segment, or the segments of a user",
                       "Examples:\n  segctl member list cart-left-behind --limit 10\n"
                       "  segctl member list --user u42\n",
                       List);
  list->add_option("segment", options->segment, "The segment's ID");
  list->add_option("--user", options->user, "Show the segments that this user is in")
      ->type_name("USER");
  list->add_option("--limit", options->limit, "Stop after so many members; 0 for all")
      ->type_name("N")
      ->check(NotNegative)
      ->capture_default_str();
  CLI::App* count = add("count", "How many members segments have",
                        "Examples:\n  segctl member count cart-left-behind power-users\n"
                        "  segctl member count cart-left-behind --json | jq .members\n",
                        Count);
  count->add_option("segment", options->segments, "The segments' IDs")->required();
  take_pair(add("explain", "Why a user is or is not in a segment; exit status 0 in, 1 not in",
                "Examples:\n  segctl member explain cart-left-behind u42\n"
                "  segctl member explain cart-left-behind u42 --json | jq .root\n",
                Explain));
}

}  // namespace segmentd
