# JupyterLab's terminals are login shells, and /etc/profile has just set PATH anew.
case ":$PATH:" in
    *:/opt/notebook/bin:*) ;;
    *) PATH=/opt/notebook/bin:$PATH ;;
esac
