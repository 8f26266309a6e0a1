// Laws that hold between definitions, whatever either of them means: no oracle is needed.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "segment/definition_text.h"
#include "segment/engine.h"
#include "tests/property/check.h"
#include "tests/property/generate.h"
#include "tests/property/playback.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

struct Law {
  // One alone means what all the others together do; or, if not, implies each of them.
  pb::Expression left;
  std::vector<pb::Expression> right;
  bool equal = true;
};

pb::Expression Not(const pb::Expression& e) {
  pb::Expression out;
  *out.mutable_not_() = e;
  return out;
}

pb::Expression AllOf(const std::vector<pb::Expression>& parts) {
  pb::Expression out;
  for (const auto& part : parts) *out.add_all_of() = part;
  return out;
}

pb::Expression AnyOf(const std::vector<pb::Expression>& parts) {
  pb::Expression out;
  for (const auto& part : parts) *out.add_any_of() = part;
  return out;
}

pb::Expression DidOf(const pb::Did& did) {
  pb::Expression out;
  *out.mutable_did() = did;
  return out;
}

pb::Expression InSegment(const std::string& id) {
  pb::Expression out;
  out.set_in_segment(id);
  return out;
}

// What a history defines first of past behaviour; the others of it may refer to that.
std::vector<pb::Expression> Expressions(const History& history) {
  std::vector<pb::Expression> all;
  for (const Item& item : history.items) {
    if (item.kind == Item::Kind::kDefine) all.push_back(item.segment.past_behavior());
  }
  return all;
}

// The first `did` in an expression; without one, of some event.
pb::Did FirstDid(const pb::Expression& e) {
  if (e.has_did()) return e.did();
  if (e.has_did_not()) return e.did_not();
  if (e.has_not_()) return FirstDid(e.not_());
  if (e.all_of_size() > 0) return FirstDid(e.all_of(0));
  if (e.any_of_size() > 0) return FirstDid(e.any_of(0));
  pb::Did did;
  did.set_event("A");
  return did;
}

// Of the same events in the same range, without a measure.
pb::Did Plain(pb::Did did) {
  did.clear_count();
  did.clear_sum();
  did.clear_average();
  did.clear_first_time();
  did.clear_include_users_who_did_not();
  return did;
}

pb::Did Ever(pb::Did did) {
  did.clear_within_last();
  did.clear_between();
  did.clear_during();
  did.clear_time_zone();
  did.clear_week_starts();
  return did;
}

pb::Did AtLeast(pb::Did did, int count) {
  did = Plain(did);
  did.mutable_count()->set_at_least(count);
  return did;
}

// The history's records under these definitions, in slots 0 and up.
History Under(const History& history, const std::vector<pb::Expression>& definitions) {
  History out = history;
  out.items.clear();
  for (size_t i = 0; i < definitions.size(); ++i) {
    Item item{.kind = Item::Kind::kDefine, .slot = static_cast<Slot>(i)};
    item.segment.set_id(absl::StrCat("s", i));
    item.segment.set_name(absl::StrCat("Segment ", i));
    *item.segment.mutable_past_behavior() = definitions[i];
    out.items.push_back(std::move(item));
  }
  for (const Item& item : history.items) {
    if (item.kind != Item::Kind::kDefine && item.kind != Item::Kind::kDelete) {
      out.items.push_back(item);
    }
  }
  return out;
}

// Where the law does not hold of a history; nothing when it does after each item.
std::string Broken(const History& history, const Law& law) {
  std::vector<pb::Expression> definitions{law.left};
  definitions.insert(definitions.end(), law.right.begin(), law.right.end());
  const History under = Under(history, definitions);
  if (!CanRun(under)) return "";
  Playback run(under.settings, under.users, /*in_portions=*/false);
  for (size_t i = 0; i < under.items.size(); ++i) {
    run.step(under.items[i]);
    if (i + 1 < definitions.size()) continue;
    for (int u = 0; u < under.users; ++u) {
      const bool left = IsMember(run.user(u), 0);
      for (Slot slot = 1; slot < definitions.size(); ++slot) {
        const bool right = IsMember(run.user(u), slot);
        if (law.equal ? left == right : !left || right) continue;
        return absl::StrCat("user ", u, left ? " is" : " is not", " in slot 0, and",
                            right ? " is" : " is not", " in slot ", slot, "\n", Describe(under));
      }
    }
  }
  return "";
}

void CheckLaw(const std::function<Law(const pb::Expression&)>& law) {
  for (const bool in_order : {true, false}) {
    Check({.in_order = in_order, .past = true}, 250, [&](const History& history) -> std::string {
      const auto expressions = Expressions(history);
      // The first refers to no other.
      return expressions.empty() ? "" : Broken(history, law(expressions[0]));
    });
  }
}

// What is no law is found out.
TEST(Laws, CanBeBroken) {
  int broken = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const History history = Generate(seed, {.past = true});
    const pb::Did did = Plain(FirstDid(Expressions(history)[0]));
    broken += Broken(history, {DidOf(did), {DidOf(AtLeast(did, 2))}}).empty() ? 0 : 1;
  }
  EXPECT_GT(broken, 10);
}

TEST(Laws, OfNegation) {
  CheckLaw([](const pb::Expression& e) {
    pb::Expression did_not;
    *did_not.mutable_did_not() = FirstDid(e);
    return Law{Not(DidOf(FirstDid(e))), {did_not}};
  });
  CheckLaw([](const pb::Expression& e) { return Law{e, {Not(Not(e))}}; });
}

TEST(Laws, OfOneAlone) {
  CheckLaw([](const pb::Expression& e) {
    return Law{e, {AllOf({e}), AnyOf({e}), AllOf({e, e}), AnyOf({e, e}), InSegment("s0")}};
  });
}

TEST(Laws, OfDeMorgan) {
  Check({.past = true}, 500, [](const History& history) -> std::string {
    auto both = Expressions(history);
    if (both.empty()) return "";
    const pb::Expression x = both[0];
    const pb::Expression y = DidOf(Plain(FirstDid(both.back())));
    const std::string wrong = Broken(history, {Not(AllOf({x, y})), {AnyOf({Not(x), Not(y)})}});
    return wrong.empty() ? Broken(history, {Not(AnyOf({x, y})), {AllOf({Not(x), Not(y)})}}) : wrong;
  });
}

TEST(Laws, OfPartsAndTheWhole) {
  pb::Expression part;
  part.mutable_property()->set_property("u");
  part.mutable_property()->mutable_equals()->set_string_value("x");
  CheckLaw([&](const pb::Expression& e) {
    return Law{e, {AnyOf({AllOf({e, part}), AllOf({e, Not(part)})})}};
  });
  CheckLaw([&](const pb::Expression& e) { return Law{AllOf({e, part}), {e, part}, false}; });
}

TEST(Laws, OfCounting) {
  CheckLaw([](const pb::Expression& e) {
    const pb::Did did = Plain(FirstDid(e));
    return Law{DidOf(did), {DidOf(AtLeast(did, 1))}};
  });
  for (const int count : {1, 2, 3}) {
    CheckLaw([&](const pb::Expression& e) {
      const pb::Did did = FirstDid(e);
      return Law{DidOf(AtLeast(did, count + 1)), {DidOf(AtLeast(did, count))}, false};
    });
    CheckLaw([&](const pb::Expression& e) {
      pb::Did fewer = Plain(FirstDid(e));
      fewer.mutable_count()->set_less_than(count);
      fewer.set_include_users_who_did_not(true);
      return Law{Not(DidOf(AtLeast(FirstDid(e), count))), {DidOf(fewer)}};
    });
  }
}

TEST(Laws, OfWindows) {
  // Longer than any history.
  CheckLaw([](const pb::Expression& e) {
    const pb::Did ever = Ever(FirstDid(e));
    pb::Did long_ago = ever;
    long_ago.set_within_last("540d");
    return Law{DidOf(ever), {DidOf(long_ago)}};
  });
  CheckLaw([](const pb::Expression& e) {
    pb::Did shorter = Ever(AtLeast(FirstDid(e), 2));
    pb::Did longer = shorter;
    pb::Did longest = shorter;
    shorter.set_within_last("2h");
    longer.set_within_last("36h");
    longest.set_within_last("4d");
    return Law{DidOf(shorter), {DidOf(longer), DidOf(longest), DidOf(Ever(shorter))}, false};
  });
  CheckLaw([](const pb::Expression& e) {
    pb::Did first = Plain(FirstDid(e));
    first.set_first_time(true);
    return Law{DidOf(first), {DidOf(Plain(first))}, false};
  });
}

TEST(Laws, OfTheCalendar) {
  const auto during = [](const pb::Expression& e, const std::string& range) {
    pb::Did did = Ever(Plain(FirstDid(e)));
    did.set_during(range);
    did.set_time_zone("Australia/Lord_Howe");
    return DidOf(did);
  };
  CheckLaw([&](const pb::Expression& e) {
    return Law{during(e, "today"),
               {during(e, "this_week"), during(e, "this_month"), during(e, "this_year")},
               false};
  });
  CheckLaw([&](const pb::Expression& e) {
    pb::Did two_days = Ever(Plain(FirstDid(e)));
    two_days.set_within_last("49h");
    return Law{AnyOf({during(e, "yesterday"), during(e, "today")}), {DidOf(two_days)}, false};
  });
}

TEST(Laws, OfRangesThatMeet) {
  const auto between = [](const pb::Expression& e, const std::string& from, const std::string& to) {
    pb::Did did = Ever(Plain(FirstDid(e)));
    did.mutable_between()->set_from(from);
    did.mutable_between()->set_to(to);
    did.set_time_zone("Europe/Berlin");
    return DidOf(did);
  };
  for (const std::string middle : {"2026-03-29", "2026-03-29T02:30", "2026-10-25T02:30"}) {
    CheckLaw([&](const pb::Expression& e) {
      return Law{between(e, "2026-03-01", "2026-12-31"),
                 {AnyOf({between(e, "2026-03-01", middle), between(e, middle, "2026-12-31")})}};
    });
  }
}

}  // namespace
}  // namespace segmentd::property
