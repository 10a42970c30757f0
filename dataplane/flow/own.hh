// SPDX-License-Identifier: BSD-3-Clause
// Objects that copies of a table share until one of them changes.
#pragma once

#include <boost/smart_ptr/intrusive_ptr.hpp>

namespace strait::flow {

// The object, which nobody else has when this returns: made if there is none, copied if others have
// it.
template <typename T>
[[nodiscard]] T& own(boost::intrusive_ptr<T>& shared)
{
    if (!shared) {
        shared = new T;
    } else if (shared->use_count() != 1) {
        shared = new T{*shared};
    }
    return *shared;
}

} // namespace strait::flow
