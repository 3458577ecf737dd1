/* dmapi_macros.h: what of <dmapi.h> is no function and no structure: numbers, enumerations, macros.
 *
 * Numbering and layout are those of the SGI family (XFS on Linux); what the IBM family (GPFS, AIX) has beyond
 * it is here too, so that sources of both compile. A test compares every number with the library's.
 *
 * Errors that any call may give, beside those listed with it:
 *   ENOTCONN  no dmapid serves this node; where one served this process before, or DMAPI_WAIT_MS is set: none came
 *             back within DMAPI_WAIT_MS (30000) milliseconds
 *   EPERM     the caller may not use it
 *   ENOMEM, EIO
 * A call that fails has no effect and stores nothing, except the size that an E2BIG says it stores.
 */
#ifndef DMAPI_MACROS_H
#define DMAPI_MACROS_H

#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

/* -- special values */

#define DM_VER_STR_CONTENTS "libdmapi DMAPI (XDSM) API, Release 1.0."

#define DM_NO_SESSION 0
#define DM_NO_TOKEN (-1)
#define DM_INVALID_TOKEN 0

#define DM_GLOBAL_HANP ((void *)1)
#define DM_GLOBAL_HLEN 1
#define DM_INVALID_HANP ((void *)0)
#define DM_INVALID_HLEN 0

#define DM_TRUE 1
#define DM_FALSE 0

#define DM_SESSION_INFO_LEN 256 /* text of a session, with its NUL */
#define DM_ATTR_NAME_SIZE 8

#define DM_EV_WAIT 1         /* dm_get_events */
#define DM_RR_WAIT 1         /* dm_request_right */
#define DM_PCACHE_EVICT 0x10 /* IBM; refused here */
#define DM_WRITE_SYNC 1      /* dm_write_invis */
#define DM_MOUNT_RDONLY 1    /* me_mode */
#define DM_UNMOUNT_FORCE 1   /* ne_mode of PREUNMOUNT and UNMOUNT */
#define DM_LOCAL_MOUNT 4     /* IBM, me_mode and ne_mode */
#define DM_REMOTE_MOUNT 8

#define DM_SNAP_ROOT 0 /* IBM: no snapshot */
#define DM_SNAP_INVALID (~(uint64_t)0)

/* -- rg_flags of dm_region_t */

#define DM_REGION_NOEVENT 0
#define DM_REGION_READ 1
#define DM_REGION_WRITE 2
#define DM_REGION_TRUNCATE 4
#define DM_REGION_DIRECT_READ 8 /* IBM; in its dialect only */

/* -- masks of attributes; the first eight can be set */

#define DM_AT_MODE 0x0001
#define DM_AT_UID 0x0002
#define DM_AT_GID 0x0004
#define DM_AT_ATIME 0x0008
#define DM_AT_MTIME 0x0010
#define DM_AT_CTIME 0x0020
#define DM_AT_SIZE 0x0040
#define DM_AT_DTIME 0x0080
#define DM_AT_HANDLE 0x0100
#define DM_AT_EMASK 0x0200
#define DM_AT_PMANR 0x0400
#define DM_AT_PATTR 0x0800
#define DM_AT_STAT 0x1000
#define DM_AT_CFLAG 0x2000
#define DM_AT_FOPEN 0x4000 /* IBM */

/* -- dt_xfs_xflags */

#define DM_XFLAG_REALTIME 0x1
#define DM_XFLAG_PREALLOC 0x2
#define DM_XFLAG_IMMUTABLE 0x8
#define DM_XFLAG_APPEND 0x10
#define DM_XFLAG_SYNC 0x20
#define DM_XFLAG_NOATIME 0x40
#define DM_XFLAG_NODUMP 0x80
#define DM_XFLAG_HASATTR 0x80000000

/* -- enumerations */

typedef enum {
  DM_EXTENT_INVALID = 0,
  DM_EXTENT_RES = 1,
  DM_EXTENT_HOLE = 2
} dm_extenttype_t;

typedef enum {
  DM_MSGTYPE_INVALID = 0,
  DM_MSGTYPE_SYNC = 1,
  DM_MSGTYPE_ASYNC = 2
} dm_msgtype_t;

typedef enum {
  DM_RESP_INVALID = 0,
  DM_RESP_CONTINUE = 1,
  DM_RESP_ABORT = 2,
  DM_RESP_DONTCARE = 3
} dm_response_t;

#ifndef HAVE_DM_RIGHT_T
#define HAVE_DM_RIGHT_T
typedef enum {
  DM_RIGHT_NULL = 0,
  DM_RIGHT_SHARED = 1,
  DM_RIGHT_EXCL = 2
} dm_right_t;
#endif

typedef enum {
  DM_CONFIG_INVALID = 0,
  DM_CONFIG_BULKALL = 1,
  DM_CONFIG_CREATE_BY_HANDLE = 2,
  DM_CONFIG_DTIME_OVERLOAD = 3,
  DM_CONFIG_LEGACY = 4,
  DM_CONFIG_LOCK_UPGRADE = 5,
  DM_CONFIG_MAX_ATTR_ON_DESTROY = 6,
  DM_CONFIG_MAX_ATTRIBUTE_SIZE = 7,
  DM_CONFIG_MAX_HANDLE_SIZE = 8,
  DM_CONFIG_MAX_MANAGED_REGIONS = 9,
  DM_CONFIG_MAX_MESSAGE_DATA = 10,
  DM_CONFIG_OBJ_REF = 11,
  DM_CONFIG_PENDING = 12,
  DM_CONFIG_PERS_ATTRIBUTES = 13,
  DM_CONFIG_PERS_EVENTS = 14,
  DM_CONFIG_PERS_INHERIT_ATTRIBS = 15,
  DM_CONFIG_PERS_MANAGED_REGIONS = 16,
  DM_CONFIG_PUNCH_HOLE = 17,
  DM_CONFIG_TOTAL_ATTRIBUTE_SPACE = 18,
  DM_CONFIG_WILL_RETRY = 19,
  DM_CONFIG_MAX = 20
} dm_config_t;

#define DM_CONFIG_LOWEST 1
#define DM_CONFIG_HIGHEST 19

#ifndef HAVE_DM_EVENTTYPE_T
#define HAVE_DM_EVENTTYPE_T
typedef enum {
  DM_EVENT_INVALID = -1,
  DM_EVENT_CANCEL = 0,
  DM_EVENT_MOUNT = 1,
  DM_EVENT_PREUNMOUNT = 2,
  DM_EVENT_UNMOUNT = 3,
  DM_EVENT_DEBUT = 4,
  DM_EVENT_CREATE = 5,
  DM_EVENT_CLOSE = 6,
  DM_EVENT_POSTCREATE = 7,
  DM_EVENT_REMOVE = 8,
  DM_EVENT_POSTREMOVE = 9,
  DM_EVENT_RENAME = 10,
  DM_EVENT_POSTRENAME = 11,
  DM_EVENT_LINK = 12,
  DM_EVENT_POSTLINK = 13,
  DM_EVENT_SYMLINK = 14,
  DM_EVENT_POSTSYMLINK = 15,
  DM_EVENT_READ = 16,
  DM_EVENT_WRITE = 17,
  DM_EVENT_TRUNCATE = 18,
  DM_EVENT_ATTRIBUTE = 19,
  DM_EVENT_DESTROY = 20,
  DM_EVENT_NOSPACE = 21,
  DM_EVENT_USER = 22,
  DM_EVENT_MAX = 23,
  /* IBM, beyond the loops to DM_EVENT_MAX; not delivered here */
  DM_EVENT_PREPERMCHANGE = 24,
  DM_EVENT_POSTPERMCHANGE = 25,
  DM_EVENT_DIRECT_READ = 26
} dm_eventtype_t;
#endif

#define DM_EVENT_LOWEST 0
#define DM_EVENT_HIGHEST 22
#define DM_EVENT_BASE_MAX 23
#define DM_EVENT_MAX_POSSIBLE 64

/* -- event sets: bit 1 << event; an event that is none changes nothing */

#define DMEV__BIT(event_type) \
  ((unsigned int)(event_type) > 63u ? (uint64_t)0 : (uint64_t)1 << ((unsigned int)(event_type) & 63u))
#define DMEV__ALL (((uint64_t)1 << 23) - 1u)

#define DMEV_ZERO(event_set) ((event_set) = 0)
#define DMEV_SET(event_type, event_set) ((event_set) |= DMEV__BIT(event_type))
#define DMEV_CLR(event_type, event_set) ((event_set) &= ~DMEV__BIT(event_type))
#define DMEV_ISSET(event_type, event_set) (((event_set) & DMEV__BIT(event_type)) != 0)

/* IBM; sets are changed in the second argument */
#define DMEV_ALL(event_set) ((event_set) = DMEV__ALL)
#define DMEV_ISZERO(event_set) ((event_set) == 0)
#define DMEV_ISALL(event_set) (((event_set) & DMEV__ALL) == DMEV__ALL)
#define DMEV_ADD(set1, set2) ((set2) |= (set1))
#define DMEV_REM(set1, set2) ((set2) &= ~(set1))
#define DMEV_RES(set1, set2) ((set2) &= (set1))
#define DMEV_ISEQ(set1, set2) ((set1) == (set2))
#define DMEV_ISDISJ(set1, set2) (((set1) & (set2)) == 0)
#define DMEV_ISSUB(set1, set2) (((set1) & ~(set2)) == 0)
#define DMEV_NORM(event_set) ((event_set) &= DMEV__ALL)

/* -- parts of variable length, and lists; `p` is used more than once */

/* NULL or the part. By a mask: a compiler that sees a branch here warns of the NULL at every call that takes none
 * (memcmp, atoi), though the caller knows that the part is there. */
static inline void *dmapi__part(const void *base, long long offset, int is_there) {
  return (void *)(((uintptr_t)base + (uintptr_t)offset) & (uintptr_t)(is_there ? -1LL : 0LL));
}
#define DM_GET_VALUE(p, field, type) \
  ((type)dmapi__part((p), (p)->field.vd_offset, (p)->field.vd_length != 0))
#define DM_GET_LEN(p, field) ((p)->field.vd_length)
#define DM_STEP_TO_NEXT(p, type) ((type)dmapi__part((p), (p)->_link, (p)->_link != 0))

/* -- tokens and sequences; IBM sources use no operators on them */

#define DM_TOKEN_EQ(x, y) ((x) == (y))
#define DM_TOKEN_NE(x, y) ((x) != (y))
#define DM_TOKEN_LT(x, y) ((x) < (y))
#define DM_TOKEN_GT(x, y) ((x) > (y))
#define DM_TOKEN_LE(x, y) ((x) <= (y))
#define DM_TOKEN_GE(x, y) ((x) >= (y))
#define DM_SEQUENCE_EQ(x, y) ((x) == (y))
#define DM_SEQUENCE_NE(x, y) ((x) != (y))
#define DM_SEQUENCE_LT(x, y) ((x) < (y))
#define DM_SEQUENCE_GT(x, y) ((x) > (y))
#define DM_SEQUENCE_LE(x, y) ((x) <= (y))
#define DM_SEQUENCE_GE(x, y) ((x) >= (y))

/* -- names of members and types of other headers */

#define rg_pad1 rg_opaque

#define dt_xfs_igen fsys_dep.sgi_xfs.igen
#define dt_xfs_xflags fsys_dep.sgi_xfs.xflags
#define dt_xfs_extsize fsys_dep.sgi_xfs.extsize
#define dt_xfs_extents fsys_dep.sgi_xfs.extents
#define dt_xfs_aextents fsys_dep.sgi_xfs.aextents
#define dt_xfs_dmstate fsys_dep.sgi_xfs.dmstate

typedef int32_t dm_signed32;
typedef uint32_t dm_unsigned32;
typedef int64_t dm_signed64;
typedef uint64_t dm_unsigned64;
typedef struct dm_scalar128 {
  uint64_t high;
  uint64_t low;
} dm_scalar128;
#define DM_SCALAR128_EQ(x, y) ((x).high == (y).high && (x).low == (y).low)
#define DM_SCALAR128_NE(x, y) (!DM_SCALAR128_EQ(x, y))
#define DM_SCALAR128_LT(x, y) ((x).high < (y).high || ((x).high == (y).high && (x).low < (y).low))
#define DM_SCALAR128_GT(x, y) DM_SCALAR128_LT(y, x)
#define DM_SCALAR128_LE(x, y) (!DM_SCALAR128_LT(y, x))
#define DM_SCALAR128_GE(x, y) (!DM_SCALAR128_LT(x, y))

/* -- inside of handles (SGI); programs should treat them as bytes */

#define MAXDMFSFIDSZ 46
#define DM_MAX_HANDLE_SIZE 56
#define DM_FSHSIZE 8
#define DM_HSIZE(handle) \
  ((size_t)((char *)&(handle).ha_fid.dm_fid_pad - (char *)&(handle)) + (handle).ha_fid.dm_fid_len)
#define DM_HANDLE_CMP(h1, h2) memcmp((h1), (h2), sizeof(dm_handle_t))

#endif /* DMAPI_MACROS_H */
